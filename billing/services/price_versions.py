"""A price version's life: compare a list, draft what it changes, publish once.

Publishing ends the prices it replaces at the moment its own begin, so that every call keeps the
price of its dispatch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar
from uuid import UUID

import structlog
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import DateTimeField, Exists, F, Func, Manager, Max, OuterRef, Q, Value
from django.db.models.functions import Now

from accounts.services import feed
from billing.errors import PriceJump, PriceVersionConflict
from billing.models import ModelAlias, Price, PriceVersion
from billing.price_files import PriceKey, PriceList
from billing.types import VersionState
from ideplatform.kit.db import allow_long_transaction
from ideplatform.kit.errors import Pointer

log = structlog.get_logger(__name__)
Row = TypeVar("Row", Price, ModelAlias)

TOPIC: Final = "prices"
"""Of the access feed: a trigger tells of each version that was published."""
JUMP: Final = Decimal("1.5")
"""Beyond this factor up or down a price needs a reviewer's word."""
TYPO: Final = Decimal(500)
"""A factor near 1,000 is a unit mistake, whoever says otherwise."""
_LOCK: Final = 0x70726963  # "pric"
_PUBLISH_S: Final = 60
_SHOWN_JUMPS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A price that a list changes; `was` is None for a new one. USD per unit."""

    key: PriceKey
    was: Decimal | None
    now: Decimal

    @property
    def factor(self) -> Decimal | None:
        """How many times dearer or cheaper, at least 1; None where a price is new or zero."""
        if not self.was or not self.now:
            return None
        return max(self.now / self.was, self.was / self.now)

    @property
    def is_jump(self) -> bool:
        """Whether it needs a reviewer: a large factor, or a price that becomes or was free."""
        if self.was is None or self.was == self.now:
            return False
        return self.factor is None or self.factor > JUMP

    @property
    def is_typo(self) -> bool:
        return self.was is not None and self.factor is not None and self.factor >= TYPO


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a list would change. `absent`: prices in force that it does not mention (they stay)."""

    changes: tuple[Change, ...]
    aliases: Mapping[tuple[str, str], str]
    unchanged: int
    absent: int

    @property
    def is_empty(self) -> bool:
        return not self.changes and not self.aliases


def compare(listed: PriceList) -> Difference:
    """The list against the prices that nothing has ended."""
    in_force, names = open_prices(), _open_aliases()
    changes = tuple(
        Change(key=key, was=was.unit_price if was else None, now=price)
        for key, price in sorted(listed.prices.items())
        if (was := in_force.get(key)) is None or was.unit_price != price
    )
    aliases = {
        key: model
        for key, model in listed.aliases.items()
        if key not in names or names[key].model != model
    }
    return Difference(
        changes=changes,
        aliases=aliases,
        unchanged=len(listed.prices) - len(changes),
        absent=len(in_force.keys() - listed.prices.keys()),
    )


@transaction.atomic
def draft(*, listed: PriceList, note: str, created_by_id: UUID | None = None) -> UUID | None:
    """Write what a list changes as a draft version; None when it changes nothing.

    A draft that says the same already is answered instead of another one.
    """
    lock()
    difference = compare(listed)
    if difference.is_empty:
        return None
    known = _same_draft(difference)
    if known is not None:
        return known
    version = PriceVersion.objects.create(note=note[:300], created_by_id=created_by_id)
    rows = [_row(version, change, listed.sources[change.key]) for change in difference.changes]
    Price.objects.bulk_create(rows)
    ModelAlias.objects.bulk_create(
        ModelAlias(version=version, provider_type=provider_type, alias=alias, model=model)
        for (provider_type, alias), model in difference.aliases.items()
    )
    return version.pk


@transaction.atomic
def publish(
    *,
    version_id: UUID,
    effective_from: datetime | None = None,
    approved_by_id: UUID | None = None,
    accepts_jumps: bool = False,
) -> int:
    """Put a draft in force from `effective_from` (default: now); returns its number.

    The first version ever also holds for all time before, when nothing was priced.
    Raises PriceJump when a price moves by more than half and `accepts_jumps` is not said, or by
    a factor of 500 whatever is said; PriceVersionConflict when the version is no draft, the
    moment has passed, or a later change of one of its prices is already planned.
    """
    lock()
    version = PriceVersion.objects.select_for_update().filter(pk=version_id).first()
    if version is None or version.state != VersionState.DRAFT:
        raise PriceVersionConflict("Only a draft can be published.")
    starts_at = _start(effective_from)
    latest = PriceVersion.objects.aggregate(Max("number"))["number__max"] or 0
    lower = starts_at if latest or effective_from else None
    prices, aliases = list(version.prices.all()), list(version.aliases.all())
    replaced, renamed = open_prices(), _open_aliases()
    _refuse_jumps(prices, replaced, accepts_jumps=accepts_jumps)
    _link(prices, replaced)
    old_prices = [replaced[key] for key in map(key_of, prices) if key in replaced]
    old_names = [renamed[name] for name in map(_name, aliases) if name in renamed]
    _put_in_force(Price.objects, prices, old_prices, starts_at, lower)
    _put_in_force(ModelAlias.objects, aliases, old_names, starts_at, lower)
    number = _mark_published(version, number=latest + 1, approved_by_id=approved_by_id)
    feed.announce_topic(TOPIC)
    log.info("price_version.published", version_id=str(version.pk), number=number)
    return number


def lock() -> None:
    """One importer or publisher at a time, until the transaction ends; thousands of rows may go."""
    allow_long_transaction(seconds=_PUBLISH_S)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _row(version: PriceVersion, change: Change, source: str) -> Price:
    key = change.key
    return Price(
        version=version,
        provider_type=key.provider_type,
        match=key.match,
        pattern=key.pattern,
        service_tier=key.service_tier,
        region=key.region,
        context_over_tokens=key.context_over_tokens,
        unit_class=key.unit_class,
        unit_price=change.now,
        source=source,
    )


def _same_draft(difference: Difference) -> UUID | None:
    prices = {change.key: change.now for change in difference.changes}
    drafts = PriceVersion.objects.filter(state=VersionState.DRAFT)
    for version in drafts.prefetch_related("prices", "aliases"):
        if {key_of(row): row.unit_price for row in version.prices.all()} == prices and {
            _name(row): row.model for row in version.aliases.all()
        } == difference.aliases:
            return version.pk
    return None


def key_of(row: Price) -> PriceKey:
    """What a row is the price of."""
    return PriceKey(
        provider_type=row.provider_type,
        match=row.match,
        pattern=row.pattern,
        service_tier=row.service_tier,
        region=row.region,
        context_over_tokens=row.context_over_tokens,
        unit_class=row.unit_class,
    )


def _name(row: ModelAlias) -> tuple[str, str]:
    return row.provider_type, row.alias


def open_prices() -> dict[PriceKey, Price]:
    """The published prices that nothing has ended; the database holds one per key."""
    rows = Price.objects.filter(is_published=True, effective__upper_inf=True)
    return {key_of(row): row for row in rows}


def _open_aliases() -> dict[tuple[str, str], ModelAlias]:
    rows = ModelAlias.objects.filter(is_published=True, effective__upper_inf=True)
    return {_name(row): row for row in rows}


def _start(effective_from: datetime | None) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    if effective_from is not None and effective_from < now:
        raise PriceVersionConflict("Prices begin now or later, never in the past.")
    return effective_from or now


def _refuse_jumps(
    prices: Sequence[Price], replaced: Mapping[PriceKey, Price], *, accepts_jumps: bool
) -> None:
    changes = [
        Change(key=key, was=replaced[key].unit_price, now=row.unit_price)
        for row in prices
        if (key := key_of(row)) in replaced
    ]
    refused = [c for c in changes if c.is_typo or (c.is_jump and not accepts_jumps)]
    if refused:
        raise PriceJump(errors=[_pointer(change) for change in refused[:_SHOWN_JUMPS]])


def _pointer(change: Change) -> Pointer:
    key = change.key
    return Pointer(
        pointer=f"/{key.provider_type}/{key.pattern}/{key.service_tier}/{key.unit_class}",
        detail=f"from {change.was:f} to {change.now:f} USD per unit",
    )


def _link(prices: Sequence[Price], replaced: Mapping[PriceKey, Price]) -> None:
    for row in prices:
        row.supersedes = replaced.get(key_of(row))
    Price.objects.bulk_update(prices, ["supersedes"], batch_size=1_000)


def _put_in_force(
    table: Manager[Row],
    rows: Sequence[Row],
    replaced: Sequence[Row],
    starts_at: datetime,
    lower: datetime | None,
) -> None:
    """End the replaced rows at `starts_at`, and let the new ones begin."""
    if any(old.effective.lower and old.effective.lower >= starts_at for old in replaced):
        raise PriceVersionConflict("A later change of the same prices is already planned.")
    table.filter(pk__in=[old.pk for old in replaced]).update(effective=_until(starts_at))
    table.filter(pk__in=[row.pk for row in rows]).update(
        is_published=True, effective=DateTimeTZRange(lower, None)
    )


def _until(moment: datetime) -> Func:
    return Func(
        Func(F("effective"), function="lower"),
        Value(moment),
        function="tstzrange",
        output_field=DateTimeRangeField(),
    )


def _mark_published(version: PriceVersion, *, number: int, approved_by_id: UUID | None) -> int:
    """Number the version, and retire those of which nothing will hold any more."""
    moment = Func(function="clock_timestamp", output_field=DateTimeField())
    lasting = Q(effective__upper_inf=True) | Q(effective__endswith__gt=moment)
    prices = Price.objects.filter(lasting, version=OuterRef("pk"), is_published=True)
    aliases = ModelAlias.objects.filter(lasting, version=OuterRef("pk"), is_published=True)
    PriceVersion.objects.filter(~Exists(prices), ~Exists(aliases)).filter(
        state=VersionState.PUBLISHED
    ).update(state=VersionState.RETIRED)
    PriceVersion.objects.filter(pk=version.pk).update(
        number=number,
        state=VersionState.PUBLISHED,
        published_at=Now(),
        approved_by_id=approved_by_id,
    )
    return number
