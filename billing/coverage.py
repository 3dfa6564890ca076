"""Which whole hours or days lie inside buckets of time, and what they leave (pure)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
_TICK: Final = timedelta(microseconds=1)
Ranges = list[tuple[datetime, datetime]]
"""`[start, end)` each, in order."""


def whole(edges: Sequence[datetime], step: timedelta) -> Ranges:
    """The whole hours or days (UTC) inside each bucket between edges, neighbours as one range."""
    ranges: Ranges = []
    for start, end in itertools.pairwise(edges):
        first, last = _floor(start + step - _TICK, step), _floor(end, step)
        if first >= last:
            continue
        if ranges and ranges[-1][1] == first:
            first = ranges.pop()[0]
        ranges.append((first, last))
    return ranges


def gaps(edges: Sequence[datetime], ranges: Ranges) -> Ranges:
    """What of the time between the outer edges no range holds."""
    starts = [edges[0], *(end for _, end in ranges)]
    ends = [*(start for start, _ in ranges), edges[-1]]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _floor(moment: datetime, step: timedelta) -> datetime:
    """The beginning of the moment's hour or day in UTC."""
    utc = moment.astimezone(UTC)
    if step == DAY:
        return datetime.combine(utc.date(), time.min, tzinfo=UTC)
    return utc.replace(minute=0, second=0, microsecond=0)
