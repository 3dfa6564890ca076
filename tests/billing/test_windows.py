"""Days and hours of real places, the odd ones included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.windows import Interval, before, between, of_period, spans, zone_of
from ideplatform.kit.errors import InvalidInput

ZONES = (
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Europe/Lisbon",
)


def hours(period: str, zone: str) -> timedelta:
    return of_period(period, zone_of(zone)).length


def test_a_day_has_23_24_or_25_hours():
    assert hours("day:2026-03-08", "America/New_York") == timedelta(hours=23)
    assert hours("day:2026-03-09", "America/New_York") == timedelta(hours=24)
    assert hours("day:2026-11-01", "America/New_York") == timedelta(hours=25)
    assert hours("day:2026-04-05", "Australia/Lord_Howe") == timedelta(hours=24, minutes=30)


def test_a_day_without_midnight_begins_when_the_clocks_have_skipped_it():
    day = of_period("day:2018-11-04", zone_of("America/Sao_Paulo"))
    assert day.start == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert day.length == timedelta(hours=23)


def test_a_skipped_day_is_in_no_series():
    month = of_period("month:2011-12", zone_of("Pacific/Apia"))
    days = [span.key for span in spans(month, Interval.DAY)]
    assert "2011-12-30" not in days
    assert len(days) == 30


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("day:2024-02-29", "2024-02-29", "2024-03-01"),
        ("week:2026-W01", "2025-12-29", "2026-01-05"),
        ("month:2026-12", "2026-12-01", "2027-01-01"),
        ("month:2026-02", "2026-02-01", "2026-03-01"),
        ("year:2026", "2026-01-01", "2027-01-01"),
    ],
)
def test_a_period_is_its_calendar_days(period, start, end):
    window = of_period(period, zone_of("UTC"))
    assert (f"{window.start:%F}", f"{window.end:%F}") == (start, end)


@pytest.mark.parametrize(
    ("period", "earlier"),
    [
        ("day:2026-03-01", "day:2026-02-28"),
        ("week:2026-W01", "week:2025-W52"),
        ("month:2026-01", "month:2025-12"),
        ("year:2026", "year:2025"),
    ],
)
def test_the_period_before_is_of_the_same_kind_and_ends_where_this_begins(period, earlier):
    window = of_period(period, zone_of("America/New_York"))
    assert before(window).label == earlier
    assert before(window).end == window.start


def test_before_two_moments_comes_as_much_again():
    start = datetime(2026, 11, 1, 5, tzinfo=UTC)
    window = between(start, start + timedelta(hours=7), zone_of("UTC"))
    assert (before(window).start, before(window).end) == (start - timedelta(hours=7), start)


@pytest.mark.parametrize(
    "period",
    ["", "month", "month:2026-13", "day:2026-02-29", "week:2026-W54", "year:26", "day:2026-11",
     "month:2026-11-01", "year:2026-W01", "year:1999", "month:2026-11 "],
)  # fmt: skip
def test_what_is_no_period_is_refused(period):
    with pytest.raises(InvalidInput):
        of_period(period, zone_of("UTC"))


@pytest.mark.parametrize("name", ["", "Mars/Base", "../../etc/passwd", "UTC ", "/etc/localtime"])
def test_what_is_no_zone_is_refused(name):
    with pytest.raises(InvalidInput):
        zone_of(name)


def test_two_moments_must_be_in_order_and_not_far_apart():
    start, zone = datetime(2026, 1, 1, tzinfo=UTC), zone_of("UTC")
    assert between(start, start + timedelta(days=366), zone).length.days == 366
    for end in (start, start - timedelta(1), start + timedelta(days=367)):
        with pytest.raises(InvalidInput):
            between(start, end, zone)
    with pytest.raises(InvalidInput):
        between(datetime(1, 1, 1, tzinfo=UTC), start, zone)


def test_hours_of_a_long_window_are_refused():
    with pytest.raises(InvalidInput):
        spans(of_period("year:2026", zone_of("UTC")), Interval.HOUR)


@given(
    st.integers(1_100_000_000, 1_900_000_000).map(
        lambda second: datetime.fromtimestamp(second, UTC)
    ),
    st.timedeltas(timedelta(microseconds=1), timedelta(days=40)),
    st.sampled_from(ZONES),
    st.sampled_from(list(Interval)),
)
def test_spans_tile_the_window_and_each_moment_bears_its_spans_key(start, length, name, interval):
    zone = zone_of(name)
    window = between(start, start + length, zone)
    found = spans(window, interval)
    assert [span.start for span in found] == [window.start, *(span.end for span in found[:-1])]
    assert found[-1].end == window.end
    assert len({span.key for span in found}) == len(found)
    for span in found:
        for moment in (span.start, span.end - timedelta(microseconds=1)):
            local = moment.astimezone(zone)
            hour = f"{local:%FT%H}:00:00{local.isoformat()[-6:]}"
            assert span.key in {local.date().isoformat(), hour}
