"""Pages of daily buckets, the form that OpenAI and Anthropic share: read once, for both.

A vendor says when a bucket begins in its own way; `day` tells which UTC day that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Annotated, Generic, Protocol, TypeVar

import msgspec

from billing.vendor_reports.values import Charge, Report, Usage, decode

Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Bucket(Protocol[R_co]):
    """What was used or charged on one UTC day."""

    @property
    def day(self) -> date: ...

    @property
    def results(self) -> Sequence[R_co]: ...


B_co = TypeVar("B_co", covariant=True)


class Page(msgspec.Struct, Generic[B_co]):
    """One page of a report."""

    data: tuple[B_co, ...]


def used(
    raw: bytes, kind: type[Page[Bucket[R]]], read: Callable[[date, R], Iterable[Usage]]
) -> Report:
    """A page of what was used: each result tells of several classes. Raises Malformed."""
    page = decode(raw, kind)
    return Report(
        usages=tuple(
            one
            for bucket in page.data
            for result in bucket.results
            for one in read(bucket.day, result)
        )
    )


def charged(raw: bytes, kind: type[Page[Bucket[R]]], read: Callable[[date, R], Charge]) -> Report:
    """A page of what was charged: each result is one charge. Raises Malformed."""
    page = decode(raw, kind)
    return Report(
        charges=tuple(read(bucket.day, result) for bucket in page.data for result in bucket.results)
    )
