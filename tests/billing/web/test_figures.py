"""Numbers and charts of the dashboard, by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from billing.types import Precision
from billing.web import charts, figures
from billing.web.charts import Series

CENTS, COMMON, EXACT = Precision.CENTS, Precision.COMMON, Precision.EXACT
AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=12)


@pytest.mark.parametrize(
    ("amount", "precision", "shown"),
    [
        ("0", COMMON, "$0.00"),
        ("1234.5", COMMON, "$1,234.50"),
        ("0.999", COMMON, "$0.999"),
        ("0.25", COMMON, "$0.25"),
        ("0.0014", COMMON, "$0.0014"),
        ("0.001403", COMMON, "$0.001403"),
        ("0.0000004", COMMON, "<$0.000001"),
        ("-5.005", COMMON, "-$5.01"),
        ("0.004", CENTS, "<$0.01"),
        ("0.005", CENTS, "$0.01"),
        ("1234.567890123456", CENTS, "$1,234.57"),
        ("1234.567890123456", EXACT, "$1,234.567890123456"),
        ("5", EXACT, "$5.00"),
        ("0.000000000001", EXACT, "$0.000000000001"),
    ],
)
def test_an_amount_is_read_in_dollars(amount, precision, shown):
    with translation.override("en"):
        assert figures.usd(Decimal(amount), precision) == shown


def test_what_is_available_is_rounded_down():
    with translation.override("en"):
        assert figures.usd(Decimal("9.999"), CENTS, rounds_down=True) == "$9.99"
        assert figures.usd(Decimal("-0.001"), CENTS, rounds_down=True) == "-$0.01"
        assert figures.usd(Decimal("0.001"), CENTS, rounds_down=True) == "$0.00"


def test_brazilians_read_their_own_separators():
    with translation.override("pt-br"):
        assert figures.usd(Decimal("1234.5"), CENTS) == "US$\u00a01.234,50"
        assert figures.count(1_234_567) == "1.234.567"


@given(AMOUNTS, st.sampled_from(Precision))
def test_money_never_looks_like_nothing(amount, precision):
    with translation.override("en"):
        shown = figures.usd(amount, precision)
    is_zero = not shown.strip("$<0.,")
    assert is_zero == (amount == 0)


@pytest.mark.parametrize(
    ("now", "before", "change"),
    [("3", "2", 50), ("1", "2", -50), ("2", "2", 0), ("1", "0", None), ("0", "0", None)],
)
def test_a_change_is_in_percent_of_before(now, before, change):
    assert figures.change(Decimal(now), Decimal(before)) == change


def _days(*amounts: str, start: datetime) -> list[tuple[datetime, datetime, Decimal]]:
    day = timedelta(days=1)
    return [
        (start + n * day, start + (n + 1) * day, Decimal(text)) for n, text in enumerate(amounts)
    ]


START = datetime(2026, 11, 1, tzinfo=UTC)


def test_the_pace_is_that_of_the_last_seven_days():
    days = _days("100", "1", "1", "1", "1", "1", "1", "8", "0", "0", start=START)
    assert figures.pace(days, START + timedelta(days=8)) == 2


def test_the_running_day_counts_for_what_has_gone_of_it():
    days = _days("3", "3", start=START)
    assert figures.pace(days, START + timedelta(days=1, hours=12)) == 4


def test_a_first_hour_is_no_pace():
    days = _days("1", start=START)
    assert figures.pace(days, START + timedelta(hours=1)) == 1
    assert figures.pace([], START) == 0
    assert figures.pace(days, START) == 0


@pytest.mark.parametrize(
    ("available", "a_day", "days"),
    [("10", "3", 3), ("0", "3", 0), ("-5", "3", 0), ("10", "0", None), ("10", "0.0001", 999)],
)
def test_money_lasts_whole_days(available, a_day, days):
    assert figures.days_left(Decimal(available), Decimal(a_day)) == days


@pytest.mark.parametrize(
    ("most", "top"),
    [
        ("0", "0"),
        ("1.4", "1.6"),
        ("4", "4"),
        ("4.1", "5"),
        ("0.0014", "0.0016"),
        ("97", "100"),
        ("101", "120"),
    ],
)
def test_an_axis_ends_at_a_round_number(most, top):
    assert charts.ceiling(Decimal(most)) == Decimal(top)


@given(st.lists(st.lists(AMOUNTS, min_size=3, max_size=3), min_size=1, max_size=40))
def test_bars_stand_on_each_other_inside_the_plot(columns):
    series = [Series(name=str(n), amounts=[column[n] for column in columns]) for n in range(3)]
    chart = charts.stacked([str(n) for n in range(len(columns))], series, amount=str)
    by_column: dict[int, list[charts.Bar]] = {}
    for bar in chart.bars:
        by_column.setdefault(bar.x, []).append(bar)
        assert chart.left <= bar.x <= bar.x + bar.width <= chart.right
        assert charts.TOP - 1 <= bar.y <= bar.y + bar.height <= chart.foot
        assert bar.height >= 1
    for bars in by_column.values():
        feet = [bar.y + bar.height for bar in bars]
        assert feet == sorted(feet, reverse=True)


def test_every_kind_of_bar_has_its_own_pattern():
    series = [Series(name=name, amounts=[Decimal(1)]) for name in "abc"]
    chart = charts.stacked(["1"], series, amount=str)
    assert [bar.pattern for bar in chart.bars] == [0, 1, 2]
    assert [(mark.at, mark.text) for mark in chart.legend] == [(0, "a"), (1, "b"), (2, "c")]
    assert chart.bars[0].title == "a, 1: 1"


@pytest.mark.parametrize(
    ("spent", "held", "limit", "expected"),
    [
        ("0", "0", "10", (0, 0, False)),
        ("2.5", "2.5", "10", (250, 250, False)),
        ("9", "3", "10", (900, 100, True)),
        ("12", "0", "10", (1_000, 0, True)),
        ("10", "0", "10", (1_000, 0, True)),
        ("0", "0", "0", (1_000, 0, True)),
    ],
)
def test_a_gauge_never_leaves_its_track(spent, held, limit, expected):
    gauge = charts.gauge(Decimal(spent), Decimal(held), Decimal(limit))
    assert (gauge.spent, gauge.held, gauge.is_over) == expected
