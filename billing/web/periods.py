"""The stretches of time that the explorer offers, in the reader's own days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.windows import Window, before, between, this_month
from ideplatform.kit import clock
from ideplatform.kit.serializers import wrong

CUSTOM: Final = "custom"
RANGES: Final[Mapping[str, Promise]] = {
    "month": _("This month"),
    "last_month": _("Last month"),
    "today": _("Today"),
    "7d": _("Last 7 days"),
    "30d": _("Last 30 days"),
    CUSTOM: _("From … to …"),
}
_DAYS: Final = {"today": 1, "7d": 7, "30d": 30}
_DAY: Final = timedelta(days=1)


def window(name: str, first: str, last: str, zone: ZoneInfo) -> Window:
    """A named stretch, or the days from `first` to `last`, both included; raises InvalidInput."""
    now = clock.now()
    if name == CUSTOM:
        return _between(_day(first, "from"), _day(last, "to"), zone)
    if name in _DAYS:
        today = now.astimezone(zone).date()
        return _between(today - (_DAYS[name] - 1) * _DAY, today, zone)
    this = this_month(now, zone)
    if name == "month":
        return this
    if name == "last_month":
        return before(this)
    raise wrong("/range", f"one of {', '.join(RANGES)}")


def days_of(shown: Window) -> tuple[date, date]:
    """The first and the last local day of a window, as a form names them."""
    last = shown.end - timedelta(microseconds=1)
    return shown.start.astimezone(shown.zone).date(), last.astimezone(shown.zone).date()


def _between(first: date, last: date, zone: ZoneInfo) -> Window:
    return between(_midnight(first, zone), _midnight(last + _DAY, zone), zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def _day(text: str, name: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise wrong(f"/{name}", "a day, such as 2026-11-22") from None
    if not date(2000, 1, 1) <= found < date(2100, 1, 1):
        raise wrong(f"/{name}", "a day of the years 2000 to 2099")
    return found
