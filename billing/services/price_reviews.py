"""A draft of prices before it counts: what changes, what last week would have cost, what is odd.

Publishing takes two persons. The request carries a hash of the draft, so an edit voids it, and the
moment from which the prices hold. Units: USD per token (or request), USD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
from django.db import transaction

from accounts.types import Actor
from billing.errors import ApprovalStale, PriceJump, PriceVersionConflict
from billing.models import ApprovalRequest, ModelAlias, Price, PriceVersion
from billing.models.prices import DEAREST_TOKEN
from billing.price_files import PriceKey, PriceList
from billing.services import approvals, audit, operators, price_versions, tokens
from billing.services.adjustments import Grounds
from billing.services.price_versions import Change
from billing.services.tokens import Outcome
from billing.types import ApprovalKind, PriceMatch, Right, UnitClass, VersionState
from ideplatform.kit import money
from ideplatform.kit.errors import NotFound, Pointer

MILLION: Final = 1_000_000
EDITED: Final = "The draft was edited after it was asked for."
_PER_CALL: Final = (UnitClass.REQUEST, UnitClass.WEB_SEARCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A change of a draft and what a reviewer is told of it; "" where nothing is odd."""

    change: Change
    warning: str
    is_blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """All of a draft. `is_blocked` by what looks like a slip, whoever says otherwise."""

    version: PriceVersion
    rows: tuple[Reviewed, ...]
    aliases: tuple[ModelAlias, ...]

    @property
    def is_blocked(self) -> bool:
        return any(row.is_blocked for row in self.rows)

    @property
    def has_jumps(self) -> bool:
        return any(row.change.is_jump for row in self.rows)


class _Payload(msgspec.Struct, frozen=True):
    version_id: UUID
    digest: str
    effective_from: datetime | None
    accepts_jumps: bool


def review(version_id: UUID) -> Review:
    """What a draft would change. Raises NotFound."""
    version = PriceVersion.objects.filter(pk=version_id).first()
    if version is None:
        raise NotFound
    in_force = price_versions.open_prices()
    rows = []
    for price in version.prices.order_by("provider_type", "pattern", "unit_class", "pk"):
        key = price_versions.key_of(price)
        was = in_force.get(key)
        change = Change(key=key, was=was.unit_price if was else None, now=price.unit_price)
        warning = explain(change)
        rows.append(Reviewed(change=change, warning=warning, is_blocked=bool(is_slip(change))))
    return Review(version=version, rows=tuple(rows), aliases=tuple(version.aliases.all()))


def is_slip(change: Change) -> bool:
    """Whether a price can only be a mistake of its unit."""
    per_token = change.key.unit_class not in _PER_CALL
    return change.is_typo or (per_token and change.now > DEAREST_TOKEN)


def explain(change: Change) -> str:
    """What is odd about a price, in words; "" when nothing is."""
    now, times = f"{money.plain(change.now)} USD", money.plain(change.factor or Decimal(1))
    off = f"{times} times off the present {money.plain(change.was)} USD" if change.was else ""
    if is_slip(change) and change.key.unit_class not in _PER_CALL:
        text = f"{now} per token is {money.plain(change.now * MILLION)} USD per million tokens"
        if off:
            text += f", {off}"
        if change.was is None or change.now > change.was:
            meant = money.plain(change.now / MILLION)
            text += f". If {now} is the price of a million tokens, enter {meant}"
        return text + "."
    if change.is_typo:
        return f"{now} is {off}."
    if change.is_jump and change.factor is None:
        return "It becomes free." if not change.now else "It was free until now."
    if change.is_jump and change.was:
        return f"It moves by {money.plain((change.now / change.was - 1) * 100)} %."
    return ""


def draft_list(*, actor: Actor, listed: PriceList, note: str) -> UUID:
    """Draft what a price list changes. Raises Forbidden, PriceJump, PriceVersionConflict."""
    operators.authorise(actor, Right.DRAFT_PRICES)
    in_force = price_versions.open_prices()
    _refuse_slips(
        Change(key=key, was=was.unit_price if (was := in_force.get(key)) else None, now=now)
        for key, now in listed.prices.items()
    )
    with transaction.atomic():
        version_id = price_versions.draft(listed=listed, note=note, created_by_id=actor.user_id)
        if version_id is None:
            raise PriceVersionConflict("The list says what the price book says.")
        audit.record(
            action="prices.drafted", actor=actor, target=version_id, details={"note": note}
        )
    return version_id


@transaction.atomic
def set_price(
    *, actor: Actor, version_id: UUID | None, key: PriceKey, unit_price: Decimal, source: str
) -> UUID:
    """Put one price into a draft, a new one without `version_id`; open requests for it end.

    Raises Forbidden, NotFound, PriceVersionConflict, and PriceJump, which explains, for a price
    that is per million tokens.
    """
    operators.authorise(actor, Right.DRAFT_PRICES)
    was = price_versions.open_prices().get(key)
    _refuse_slips([Change(key=key, was=was.unit_price if was else None, now=unit_price)])
    version = _draft(version_id, actor)
    Price.objects.update_or_create(
        version=version,
        provider_type=key.provider_type,
        match=key.match,
        pattern=key.pattern,
        service_tier=key.service_tier,
        region=key.region,
        context_over_tokens=key.context_over_tokens,
        unit_class=key.unit_class,
        defaults={"unit_price": unit_price, "source": source},
    )
    _edited(actor, version, "prices.edited", {"pattern": key.pattern, "to": money.text(unit_price)})
    return version.pk


@transaction.atomic
def drop(*, actor: Actor, version_id: UUID) -> None:
    """Throw a draft away; open requests for it end. Raises as `set_price`."""
    operators.authorise(actor, Right.DRAFT_PRICES)
    version = _draft(version_id, actor)
    _edited(actor, version, "prices.dropped", {"note": version.note})
    version.prices.all().delete()
    version.aliases.all().delete()
    version.delete()


def ask_to_publish(
    *,
    actor: Actor,
    version_id: UUID,
    effective_from: datetime | None,
    accepts_jumps: bool,
    grounds: Grounds,
    token: UUID,
) -> Outcome:
    """Ask a second person to publish a draft, from the moment of approval or from a later one.

    Raises Forbidden, NotFound, PriceVersionConflict, and PriceJump with what has to be mended, or
    agreed to by `accepts_jumps`.
    """
    operators.authorise(actor, Right.DRAFT_PRICES)
    seen = review(version_id)
    if seen.version.state != VersionState.DRAFT:
        raise PriceVersionConflict("Only a draft can be published.")
    refused = [
        row for row in seen.rows if row.is_blocked or (row.change.is_jump and not accepts_jumps)
    ]
    if refused:
        raise PriceJump(errors=[_pointer(row.change) for row in refused])

    def work() -> Outcome:
        request = approvals.propose(
            actor=actor,
            kind=ApprovalKind.PRICES,
            payload={
                "version_id": str(version_id),
                "digest": digest(version_id),
                "effective_from": effective_from.isoformat() if effective_from else None,
                "accepts_jumps": accepts_jumps,
            },
            reason=grounds.reason,
            ticket=grounds.ticket,
            note=grounds.note,
        )
        return Outcome(is_done=False, target=str(request.pk))

    return tokens.once(actor=actor, token=token, work=work)


def apply_approved(request: ApprovalRequest) -> str:
    """Handler of `prices`. Raises ApprovalStale, PriceJump, PriceVersionConflict."""
    asked = msgspec.convert(request.payload, _Payload)
    price_versions.lock()
    if digest(asked.version_id) != asked.digest:
        raise ApprovalStale
    number = price_versions.publish(
        version_id=asked.version_id,
        effective_from=asked.effective_from,
        approved_by_id=request.approver_id,
        accepts_jumps=asked.accepts_jumps,
    )
    return f"price version {number}"


def digest(version_id: UUID) -> str:
    """The hash of all that a draft says."""
    prices = Price.objects.filter(version=version_id)
    aliases = ModelAlias.objects.filter(version=version_id)
    rows = [[repr(price_versions.key_of(row)), f"{row.unit_price:.15f}"] for row in prices]
    rows += [[alias.provider_type, alias.alias, alias.model] for alias in aliases]
    return hashlib.sha256(msgspec.json.encode(sorted(rows))).hexdigest()


def _draft(version_id: UUID | None, actor: Actor) -> PriceVersion:
    if version_id is None:
        return PriceVersion.objects.create(note="Typed in", created_by_id=actor.user_id)
    version = PriceVersion.objects.select_for_update().filter(pk=version_id).first()
    if version is None:
        raise NotFound
    if version.state != VersionState.DRAFT:
        raise PriceVersionConflict("Only a draft can be edited.")
    return version


def _edited(
    actor: Actor, version: PriceVersion, action: str, details: dict[str, audit.Value]
) -> None:
    facts = {"version_id": str(version.pk)}
    approvals.void(kind=ApprovalKind.PRICES, facts=facts, note=EDITED)
    audit.record(action=action, actor=actor, target=version.pk, details=details)


def _refuse_slips(changes: Iterable[Change]) -> None:
    slips: Sequence[Change] = [change for change in changes if is_slip(change)]
    if slips:
        detail = " ".join(explain(change) for change in slips[:5])
        raise PriceJump(detail, errors=[_pointer(change) for change in slips[:50]])


def _pointer(change: Change) -> Pointer:
    key = change.key
    return Pointer(
        pointer=f"/{key.provider_type}/{key.pattern}/{key.service_tier}/{key.unit_class}",
        detail=explain(change),
    )


def exact_match(name: str) -> str:
    """How a name typed by a person is matched."""
    return PriceMatch.GLOB if "*" in name or "?" in name else PriceMatch.EXACT
