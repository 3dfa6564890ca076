"""Windows of time and their buckets in a place's own days (pure).

A window is `[start, end)`. Days and hours are those of an IANA zone: a day may have 23 or 25
hours, an hour may come twice.
"""

from __future__ import annotations

import functools
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from ideplatform.kit.errors import InvalidInput, Pointer

MAX_DAYS: Final = 366
MAX_HOURLY_DAYS: Final = 62
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2100
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_PERIOD: Final = re.compile(
    r"(?P<kind>day|week|month|year):(?P<year>20[0-9]{2})(?:-W(?P<week>[0-9]{2})"
    r"|-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?"
)


class Interval(StrEnum):
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`[start, end)` in aware UTC, seen from `zone`; `label` is how it was asked for."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    label: str

    @property
    def length(self) -> timedelta:
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One bucket: `key` is the local date, or the instant of the hour with its offset."""

    key: str
    start: datetime
    end: datetime


def zone_of(name: str) -> ZoneInfo:
    """The IANA zone of a name; raises InvalidInput."""
    if name not in _zones():
        raise _wrong("tz", "the name of an IANA time zone, such as Europe/Lisbon")
    return ZoneInfo(name)


def of_period(text: str, zone: ZoneInfo) -> Window:
    """`day:2026-11-22`, `week:2026-W47`, `month:2026-11` or `year:2026`; raises InvalidInput."""
    form = _PERIOD.fullmatch(text)
    try:
        first, after = _dates(form) if form else (None, None)
    except ValueError:
        first = after = None
    if first is None or after is None:
        raise _wrong("period", "day:2026-11-22, week:2026-W47, month:2026-11 or year:2026")
    return Window(start=_midnight(first, zone), end=_midnight(after, zone), zone=zone, label=text)


def between(start: datetime, end: datetime, zone: ZoneInfo) -> Window:
    """A window of two moments; raises InvalidInput when it is empty or longer than 366 days."""
    if start.year < FIRST_YEAR or end.year > LAST_YEAR:
        raise _wrong("from", f"moments of the years {FIRST_YEAR} to {LAST_YEAR}")
    if end <= start:
        raise _wrong("to", "later than from")
    if end - start > timedelta(days=MAX_DAYS) + _HOUR:
        raise _wrong("to", f"at most {MAX_DAYS} days after from")
    return Window(start=start.astimezone(UTC), end=end.astimezone(UTC), zone=zone, label="custom")


def this_month(now: datetime, zone: ZoneInfo) -> Window:
    return of_period(f"month:{now.astimezone(zone):%Y-%m}", zone)


def before(window: Window) -> Window:
    """The calendar period before, or for two moments the window of the same length before."""
    form = _PERIOD.fullmatch(window.label)
    if form is None:
        start = window.start - window.length
        return Window(start=start, end=window.start, zone=window.zone, label="custom")
    first, _ = _dates(form)
    return of_period(_label(form["kind"], first - _DAY), window.zone)


def spans(window: Window, interval: Interval) -> list[Span]:
    """The window's days or hours, in order and without gaps; the outer ones may be cut.

    Raises InvalidInput for hours of more than 62 days.
    """
    if interval is Interval.HOUR and window.length > timedelta(days=MAX_HOURLY_DAYS):
        raise _wrong("group_by", f"hours of at most {MAX_HOURLY_DAYS} days")
    starts = list(_starts(window, interval))
    ends = [*starts[1:], window.end]
    return [
        Span(key=_key(start, window.zone, interval), start=start, end=end)
        for start, end in zip(starts, ends, strict=True)
    ]


def _starts(window: Window, interval: Interval) -> Iterator[datetime]:
    moment = window.start
    while moment < window.end:
        yield moment
        moment = _next(moment, window.zone, interval)


def _next(moment: datetime, zone: ZoneInfo, interval: Interval) -> datetime:
    local = moment.astimezone(zone)
    if interval is Interval.HOUR:
        into_the_hour = timedelta(
            minutes=local.minute, seconds=local.second, microseconds=local.microsecond
        )
        return moment + _HOUR - into_the_hour
    day = local.date()
    while (midnight := _midnight(day := day + _DAY, zone)) <= moment:
        continue  # a day that the zone's calendar skipped
    return midnight


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins, in UTC; where clocks skip midnight, the moment they do."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def _key(start: datetime, zone: ZoneInfo, interval: Interval) -> str:
    local = start.astimezone(zone)
    if interval is Interval.DAY:
        return local.date().isoformat()
    # The offset of this very moment: where clocks go back half an hour, that of :00 is another.
    offset = timezone(local.utcoffset() or timedelta())
    return local.replace(minute=0, second=0, microsecond=0, tzinfo=offset).isoformat()


def _dates(form: re.Match[str]) -> tuple[date, date]:
    """The first day of a period and the first after it; raises ValueError."""
    year = int(form["year"])
    match form["kind"], form["week"], form["month"], form["day"]:
        case "day", None, str() as month, str() as day:
            first = date(year, int(month), int(day))
            return first, first + _DAY
        case "week", str() as week, None, None:
            first = date.fromisocalendar(year, int(week), 1)
            return first, first + 7 * _DAY
        case "month", None, str() as month, None:
            first = date(year, int(month), 1)
            return first, (first + 31 * _DAY).replace(day=1)
        case "year", None, None, None:
            return date(year, 1, 1), date(year + 1, 1, 1)
    raise ValueError("the parts do not fit the kind")


def _label(kind: str, day: date) -> str:
    """The period of a kind that holds a day."""
    match kind:
        case "day":
            return f"day:{day.isoformat()}"
        case "week":
            year, week, _ = day.isocalendar()
            return f"week:{year:04}-W{week:02}"
        case "month":
            return f"month:{day:%Y-%m}"
    return f"year:{day:%Y}"


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _wrong(parameter: str, detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer=f"/{parameter}", detail=detail)])
