"""Usage that clients report: calls that an IDE made with the customer's own vendor key.

Priced by us, billed nothing, and never posted to the ledger: the vendor has charged its customer
itself. What the platform paid for it counts itself, so nobody can report that.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from django.db import transaction

from accounts.models import ApiKey
from accounts.services import access
from accounts.types import Actor, KeyKind, OrganizationKind, Permission
from billing.errors import PayloadMismatch, PlatformUsageMetered, RequestReused
from billing.models import Hold, ProviderCard, UsageEvent, UsageReport
from billing.services import usage
from billing.services.retries import retried
from billing.types import (
    Accuracy,
    BillingMode,
    Operation,
    Outcome,
    ProviderCallRecord,
    Settlement,
    Source,
    TokenCount,
    UnitClass,
)
from ideplatform.kit import accounting, clock, throttle
from ideplatform.kit.errors import Forbidden, InvalidInput, NotFound, PlatformError, Pointer
from workspaces.services import access as workspace_access

MOST: Final = 500
OLDEST: Final = timedelta(days=7)
AHEAD: Final = timedelta(minutes=5)
_CLIENT_GONE: Final = 499
_P: Final = Permission.USAGE_REPORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One call as its client tells it. Tokens as the vendor reported them; cached and written
    ones are part of `tokens_input`, reasoning of `tokens_output`. `status` is the vendor's HTTP
    status, 499 when the client went away, 0 without an answer.
    """

    request_id: UUID
    provider_id: UUID
    model: str
    tokens_input: int
    tokens_output: int
    status: int
    attempt: int = 1
    workspace_id: UUID | None = None
    tokens_cache_read: int = 0
    tokens_cache_write: int = 0
    tokens_reasoning: int = 0
    occurred_at: datetime | None = None
    provider_request_id: str = ""
    agent_id: str = ""
    raw_usage: Mapping[str, object] | None = None
    hold_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The event of a report; `is_new` is false where the same report had come before."""

    event: UsageEvent
    is_new: bool


Answer: TypeAlias = Recorded | PlatformError


def report(*, actor: Actor, told: Report) -> Recorded:
    """Record one call, once: the same report again is answered with the event it made.

    Raises NotFound for a provider, workspace or hold that is not the actor's, Forbidden,
    PlatformUsageMetered 403, PayloadMismatch 409, InvalidInput, TooManyRequests.
    """
    answer = report_many(actor=actor, told=[told])[0]
    if isinstance(answer, PlatformError):
        raise answer
    return answer


def report_many(*, actor: Actor, told: Sequence[Report]) -> list[Answer]:
    """The same for several calls, at most 500: an answer or a refusal for each, in order.

    A refused one leaves its neighbours alone. Each counts towards 600 a minute, 50,000 a day.
    Raises TooManyRequests, ScopeMissing: then nothing was recorded.
    """
    access.require_scope(actor, _P)
    throttle.take(
        throttle.of_user(throttle.USAGE_REPORT, actor.user_id, cost=len(told)),
        throttle.of_user(throttle.USAGE_REPORT_DAY, actor.user_id, cost=len(told)),
    )
    return retried(functools.partial(_report, actor, told))


@transaction.atomic
def _report(actor: Actor, told: Sequence[Report]) -> list[Answer]:
    desk = _Desk(actor, told)
    judged = [desk.judge(one) for one in told]
    records = [one for one in judged if isinstance(one, ProviderCallRecord)]
    settled = iter(usage.settle_many(records, source=Source.CLIENT))
    answers = [one if isinstance(one, PlatformError) else next(settled) for one in judged]
    events = UsageEvent.objects.in_bulk(
        [one.event_id for one in answers if isinstance(one, Settlement)]
    )
    _keep_raw(told, answers)
    return [_answer(one, events) for one in answers]


def _answer(one: Settlement | PlatformError, events: Mapping[UUID, UsageEvent]) -> Answer:
    if isinstance(one, RequestReused):
        return PayloadMismatch()
    if isinstance(one, PlatformError):
        return one
    return Recorded(event=events[one.event_id], is_new=not one.already_settled)


def _keep_raw(told: Sequence[Report], answers: Sequence[Settlement | PlatformError]) -> None:
    """The vendor's own words beside each new event, as evidence for whoever compares later."""
    UsageReport.objects.bulk_create(
        [
            UsageReport(event_id=answer.event_id, raw_usage=dict(one.raw_usage))
            for one, answer in zip(told, answers, strict=True)
            if isinstance(answer, Settlement)
            and not answer.already_settled
            and one.raw_usage is not None
        ]
    )


class _Desk:
    """What is known beforehand of a batch, and the actor's rights, each asked for once."""

    def __init__(self, actor: Actor, told: Sequence[Report]) -> None:
        self._actor = actor
        self._now = clock.now()
        request_ids = {one.request_id for one in told}
        holds = Hold.objects.filter(request_id__in=request_ids)
        self._metered = set(holds.values_list("request_id", flat=True))
        self._known = {
            (row.request_id, row.attempt): row
            for row in UsageEvent.objects.filter(request_id__in=request_ids).order_by("attempt")
        }
        self._metered |= {
            row.request_id for row in self._known.values() if row.source != Source.CLIENT
        }
        named = ProviderCard.objects.filter(
            provider_id__in={one.provider_id for one in told}, deleted_at__isnull=True
        )
        self._cards = {row.provider_id: row for row in named.select_related("organization")}
        self._payers: dict[tuple[UUID, UUID | None], _Payer | PlatformError] = {}

    def judge(self, told: Report) -> ProviderCallRecord | PlatformError:
        """The call as it will be settled, or why not."""
        try:
            if told.hold_id is not None:
                return self._of_hold(told, told.hold_id)
            return self._of_client(told)
        except PlatformError as refused:
            return refused

    def _of_client(self, told: Report) -> ProviderCallRecord:
        payer = self._payer(told.provider_id, told.workspace_id)
        known = self._known.get((told.request_id, told.attempt))
        # The platform's own calls keep their request ids: a report must not end their holds.
        if told.request_id in self._metered or (known is not None and known.hold_id is not None):
            raise PayloadMismatch
        moment = self._moment(told, known)
        return ProviderCallRecord(
            request_id=told.request_id,
            attempt=told.attempt,
            organization_id=payer.organization_id,
            workspace_id=payer.workspace_id,
            user_id=self._actor.user_id,
            api_key_id=self._actor.api_key_id,
            agent_id=told.agent_id,
            conversation_id=None,
            run_id=None,
            provider_id=told.provider_id,
            provider_type=payer.provider_type,
            billing_mode=BillingMode.BYOK,
            operation=Operation.CHAT,
            requested_model=told.model,
            served_model=told.model,
            tokens=_tokens(told),
            status=told.status,
            accuracy=Accuracy.EXACT,
            outcome=outcome_of(told.status),
            occurred_at=moment,
            completed_at=moment,
            provider_request_id=told.provider_request_id,
            is_streamed=False,
        )

    def _of_hold(self, told: Report, hold_id: UUID) -> ProviderCallRecord:
        """A call that the platform reserved budgets for, ended by a service that ran it."""
        hold = _own_hold(self._actor, hold_id)
        if (hold.request_id, hold.attempt) != (told.request_id, told.attempt) or (
            hold.provider_id != told.provider_id
            or told.workspace_id not in (None, hold.workspace_id)
        ):
            raise PayloadMismatch
        moment = hold.dispatched_at or hold.created_at
        return ProviderCallRecord(
            request_id=hold.request_id,
            attempt=hold.attempt,
            organization_id=hold.customer_id,
            workspace_id=hold.workspace_id,
            user_id=hold.user_id,
            api_key_id=hold.api_key_id,
            agent_id=hold.agent_id,
            conversation_id=hold.conversation_id,
            run_id=hold.run_id,
            provider_id=hold.provider_id,
            provider_type=hold.provider_type,
            billing_mode=BillingMode(hold.billing_mode),
            operation=Operation(hold.operation),
            requested_model=hold.model,
            served_model=told.model,
            tokens=_tokens(told),
            status=told.status,
            accuracy=Accuracy.EXACT,
            outcome=outcome_of(told.status),
            occurred_at=moment,
            completed_at=max(moment, told.occurred_at or moment),
            service_tier=hold.service_tier,
            provider_request_id=told.provider_request_id,
            is_streamed=hold.operation == Operation.CHAT,
        )

    def _payer(self, provider_id: UUID, workspace_id: UUID | None) -> _Payer:
        key = (provider_id, workspace_id)
        if key not in self._payers:
            try:
                self._payers[key] = _payer(self._actor, self._cards.get(provider_id), workspace_id)
            except PlatformError as refused:
                self._payers[key] = refused
        found = self._payers[key]
        if isinstance(found, PlatformError):
            raise found
        return found

    def _moment(self, told: Report, known: UsageEvent | None) -> datetime:
        """When it was; the same report again means the moment that was taken for it before."""
        if told.occurred_at is None:
            return known.occurred_at if known is not None else self._now
        if known is None and not self._now - OLDEST <= told.occurred_at <= self._now + AHEAD:
            detail = "at most 7 days ago and 5 minutes ahead"
            raise InvalidInput(errors=[Pointer(pointer="/occurred_at", detail=detail)])
        return told.occurred_at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payer:
    """Whose usage a call is, and the vendor whose prices count."""

    organization_id: UUID
    workspace_id: UUID | None
    provider_type: str


def _payer(actor: Actor, card: ProviderCard | None, workspace_id: UUID | None) -> _Payer:
    """Where the actor may report calls of a provider.

    A workspace's provider counts there; an organization's for it, in any of its workspaces; a
    person's own in every workspace they work in. Raises NotFound, Forbidden.
    """
    if card is None:
        accounting.record(_P, "deny")
        raise NotFound
    if card.organization.kind == OrganizationKind.PLATFORM:
        raise PlatformUsageMetered
    if card.workspace_id is not None:
        home = workspace_access.workspace(actor, card.workspace_id, _P).organization_id
    else:
        home = access.authorise(actor, _P, card.organization_id).id
    if card.billing_mode != BillingMode.BYOK:
        raise PlatformUsageMetered
    place = workspace_id or card.workspace_id
    if place is not None and place != card.workspace_id:
        home = _other_place(actor, card, place)
    return _Payer(organization_id=home, workspace_id=place, provider_type=card.provider_type)


def _other_place(actor: Actor, card: ProviderCard, workspace_id: UUID) -> UUID:
    ref = workspace_access.workspace(actor, workspace_id, _P)
    is_own = card.organization.personal_user_id == actor.user_id
    fits = card.workspace_id is None and (is_own or ref.organization_id == card.organization_id)
    if not fits:
        detail = "the provider does not serve this workspace"
        raise InvalidInput(errors=[Pointer(pointer="/workspace_id", detail=detail)])
    return ref.organization_id


def _own_hold(actor: Actor, hold_id: UUID) -> Hold:
    """A hold of the service key's organization, locked; never one that the platform pays for.

    Its wallet would be charged by what its own customer reports.
    """
    services = ApiKey.objects.filter(kind=KeyKind.SERVICE)
    is_service = actor.api_key_id is not None and services.filter(pk=actor.api_key_id).exists()
    if not is_service or actor.key_organization_id is None:
        accounting.record(_P, "deny")
        raise Forbidden("Only a service's key settles holds.")
    access.authorise(actor, _P, actor.key_organization_id)
    held = Hold.objects.filter(pk=hold_id, customer=actor.key_organization_id)
    hold = held.select_for_update(no_key=True).first()
    if hold is None:
        raise NotFound
    if hold.billing_mode != BillingMode.BYOK:
        raise PlatformUsageMetered
    return hold


def _tokens(told: Report) -> TokenCount:
    """Disjoint classes. A client knows no lifetime of what it wrote to a cache: the shortest."""
    quantities = {
        UnitClass.INPUT: told.tokens_input - told.tokens_cache_read - told.tokens_cache_write,
        UnitClass.CACHE_READ: told.tokens_cache_read,
        UnitClass.CACHE_WRITE_5M: told.tokens_cache_write,
        UnitClass.OUTPUT: told.tokens_output - told.tokens_reasoning,
        UnitClass.OUTPUT_REASONING: told.tokens_reasoning,
    }
    return TokenCount({name: count for name, count in quantities.items() if count})


def outcome_of(status: int) -> Outcome:
    """How a call ended, by its vendor's HTTP status."""
    if status == _CLIENT_GONE:
        return Outcome.CLIENT_CANCELLED
    if status == 0:
        return Outcome.TIMEOUT
    return Outcome.OK if status < 400 else Outcome.PROVIDER_ERROR
