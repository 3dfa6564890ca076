"""Whole hours and days inside buckets, and what they leave."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.coverage import DAY, HOUR, gaps, whole

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def after(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("edges", "ranges"),
    [
        ([0, 120], [(0, 120)]),
        ([0, 60, 120], [(0, 120)]),
        ([30, 150], [(60, 120)]),
        ([0, 90, 180], [(0, 60), (120, 180)]),
        ([30, 90], []),
        ([10, 50], []),
    ],
)
def test_whole_hours_stay_inside_their_bucket(edges, ranges):
    found = whole([after(minute) for minute in edges], HOUR)
    assert found == [(after(start), after(end)) for start, end in ranges]


def test_a_microsecond_too_late_costs_the_day():
    start, end = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    assert whole([start, end], DAY) == [(start, end)]
    late = start + timedelta(microseconds=1)
    assert whole([late, end], DAY) == [(start + DAY, end)]


@given(
    st.lists(st.integers(0, 10**12), min_size=2, max_size=9, unique=True),
    st.sampled_from([HOUR, DAY]),
)
def test_ranges_and_gaps_are_the_time_between_the_edges(ticks, step):
    edges = [NOON + timedelta(microseconds=tick) for tick in sorted(ticks)]
    ranges = whole(edges, step)
    pieces = sorted([*ranges, *gaps(edges, ranges)])
    assert (pieces[0][0], pieces[-1][1]) == (edges[0], edges[-1])
    assert all(one[1] == two[0] for one, two in itertools.pairwise(pieces))
    for start, end in ranges:
        assert (start.minute, start.second, start.microsecond) == (0, 0, 0)
        assert not (end - start) % step
        # An edge that cuts an hour or a day is in no range.
        assert all((edge - start) % step == timedelta() for edge in edges if start < edge < end)
