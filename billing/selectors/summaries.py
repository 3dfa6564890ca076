"""What a window's usage adds up to: totals, groups, series and a forecast, of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from accounts.types import Actor
from billing import forecasting
from billing.errors import QueryTooBroad
from billing.forecasting import Forecast
from billing.selectors import reach, sums
from billing.selectors.sums import COLUMNS, Part, Row, Totals
from billing.types import UsageFilters
from billing.windows import Interval, Span, Window, before, of_period, spans
from ideplatform.kit import clock

__all__ = ["GROUPS", "TIMES", "Group", "Point", "Summary", "Totals", "summary"]

GROUPS: Final = COLUMNS
TIMES: Final = ("day", "hour")
MAX_GROUPS: Final = 10_000
TIMEOUT_MS: Final = 5_000
_HOURLY_BELOW_DAYS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The events that share a key: one value per dimension asked for."""

    key: tuple[tuple[str, object], ...]
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One bucket of the series; buckets without events are there, with zeros."""

    span: Span
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The window's totals, groups and series; each of the three adds up to the same.

    Corrections count where their events do. `forecast` is of what will have been billed.
    """

    window: Window
    interval: Interval
    totals: Totals
    groups: tuple[Group, ...]
    series: tuple[Point, ...]
    previous_window: Window | None
    previous: Totals | None
    forecast: Forecast
    as_of: datetime


def summary(
    actor: Actor,
    window: Window,
    *,
    filters: UsageFilters | None = None,
    group_by: Sequence[str] = (),
    compares: bool = False,
    most_groups: int = MAX_GROUPS,
    timeout_ms: int = TIMEOUT_MS,
) -> Summary:
    """What the actor's visible usage of a window adds up to, exactly.

    `group_by` names at most two of model, agent, workspace, user, provider, api_key, day, hour
    (one of the last two). Raises NotFound for foreign ids, QueryTooBroad after `timeout_ms` or for
    more than `most_groups` groups.
    """
    meant = filters or UsageFilters()
    seen = reach.checked(actor, meant)
    now = clock.now()
    question = _Question(
        window=window,
        earlier=before(window) if compares else None,
        buckets=spans(window, interval := _interval(window, group_by)),
        group_by=group_by,
        history=_history(window, now),
        most_groups=most_groups,
    )
    answer = sums.read(seen, meant, question.parts(), timeout_ms=timeout_ms)
    rows = dict(zip(question.names(), answer.parts, strict=True))
    series, previous = question.series(rows["series"])
    totals = sums.added([point.totals for point in series])
    return Summary(
        window=window,
        interval=interval,
        totals=totals,
        groups=question.groups(rows.get("groups"), series),
        series=series,
        previous_window=question.earlier,
        previous=previous,
        forecast=forecasting.forecast(
            window,
            now=now,
            spent=totals.billed_cost,
            history=question.daily_costs(rows.get("history", ())),
        ),
        as_of=answer.as_of,
    )


def _interval(window: Window, group_by: Sequence[str]) -> Interval:
    for name in TIMES:
        if name in group_by:
            return Interval(name)
    return Interval.HOUR if window.length.days < _HOURLY_BELOW_DAYS else Interval.DAY


def _history(window: Window, now: datetime) -> list[Span]:
    """The whole days before today that a forecast rests on; none for a window that is over."""
    if window.end <= now:
        return []
    today = now.astimezone(window.zone).date()
    first = today - timedelta(days=forecasting.HISTORY_DAYS)
    start, end = (of_period(f"day:{day}", window.zone).start for day in (first, today))
    return spans(Window(start=start, end=end, zone=window.zone, label="history"), Interval.DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked of the sums, and how their rows become the answer."""

    window: Window
    earlier: Window | None
    buckets: Sequence[Span]
    group_by: Sequence[str]
    history: Sequence[Span]
    most_groups: int

    @property
    def dimensions(self) -> list[str]:
        return [name for name in self.group_by if name not in TIMES]

    @property
    def is_timed(self) -> bool:
        return any(name in TIMES for name in self.group_by)

    def names(self) -> list[str]:
        asked = {"series": True, "groups": bool(self.dimensions), "history": bool(self.history)}
        return [name for name, is_asked in asked.items() if is_asked]

    def parts(self) -> list[Part]:
        starts = [span.start for span in self.buckets]
        edges = [*starts, self.window.end]
        parts = {
            # The window before is one bucket in front of the others.
            "series": Part(edges=[self.earlier.start, *edges] if self.earlier else edges),
            "groups": Part(
                edges=edges if self.is_timed else [self.window.start, self.window.end],
                dimensions=self.dimensions,
                most=self.most_groups + 1,
            ),
        }
        if self.history:
            days = [span.start for span in self.history]
            parts["history"] = Part(edges=[*days, self.history[-1].end])
        return [parts[name] for name in self.names()]

    def series(self, rows: Sequence[Row]) -> tuple[tuple[Point, ...], Totals | None]:
        """The window's points, and the totals of the window before it."""
        first = 2 if self.earlier else 1
        found = {row.bucket: row.totals for row in rows}
        points = tuple(
            Point(span=span, totals=found.get(number, Totals()))
            for number, span in enumerate(self.buckets, start=first)
        )
        return points, found.get(1, Totals()) if self.earlier else None

    def daily_costs(self, rows: Sequence[Row]) -> list[Decimal]:
        found = {row.bucket: row.totals for row in rows}
        days = range(1, len(self.history) + 1)
        return [found.get(number, Totals()).billed_cost for number in days]

    def groups(self, rows: Sequence[Row] | None, series: Sequence[Point]) -> tuple[Group, ...]:
        """The groups, dearest first; equal ones in the order of their keys."""
        if not self.group_by:
            return ()
        found = self._by_time(series) if rows is None else [self._group(row) for row in rows]
        if len(found) > self.most_groups:
            raise QueryTooBroad(f"More than {self.most_groups} groups.")
        return tuple(
            sorted(found, key=lambda group: (-group.totals.estimated_cost, str(group.key)))
        )

    def _by_time(self, series: Sequence[Point]) -> list[Group]:
        (name,) = self.group_by
        return [
            Group(key=((name, point.span.key),), totals=point.totals)
            for point in series
            if point.totals.requests
        ]

    def _group(self, row: Row) -> Group:
        values = iter(row.key)
        key = tuple(
            (name, self.buckets[row.bucket - 1].key if name in TIMES else next(values))
            for name in self.group_by
        )
        return Group(key=key, totals=row.totals)
