"""What operators read in the console: a customer on one screen, and what a move would change.

Looking at a customer is noted in the audit log of its organization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Q

from accounts.models import User
from accounts.services import audit as account_audit
from accounts.types import Actor
from billing.models import (
    ApprovalRequest,
    BillingAudit,
    Budget,
    CreditLot,
    Customer,
    Hold,
    LedgerAccount,
    LedgerEntry,
    ReconLine,
    StripeInbox,
    StripeOutbox,
    TopUp,
)
from billing.models.holds import LIVE
from billing.selectors import Filled, filled
from billing.services import audit, operators, tokens, verification
from billing.services.adjustments import Grounds
from billing.services.tokens import Outcome
from billing.types import (
    UNDECIDED,
    AccountKind,
    Balance,
    InboxState,
    MessageState,
    Right,
)
from ideplatform.kit import clock, money
from ideplatform.kit.errors import NotFound
from ideplatform.outbox import facts

ROWS: Final = 25
DAYS: Final = 30
VERIFIED: Final = "money.verified"
_SHOWN_BREACHES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """What a customer paid and what its calls cost us in the last 30 days, USD."""

    revenue_usd: Decimal
    cost_usd: Decimal

    @property
    def margin_usd(self) -> Decimal:
        return self.revenue_usd - self.cost_usd

    @property
    def percent(self) -> Decimal | None:
        if not self.revenue_usd:
            return None
        return (self.margin_usd * 100 / self.revenue_usd).quantize(Decimal("0.1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """All of one customer, at most 25 rows of each kind. `names` are people's addresses by id."""

    customer: Customer
    balance: Balance
    margin: Margin
    budgets: Sequence[Filled]
    timeline: Sequence[LedgerEntry]
    lots: Sequence[CreditLot]
    holds: Sequence[Hold]
    top_ups: Sequence[TopUp]
    webhooks: Sequence[StripeInbox]
    messages: Sequence[StripeOutbox]
    recon_lines: Sequence[ReconLine]
    requests: Sequence[ApprovalRequest]
    audit: Sequence[BillingAudit]
    verified: BillingAudit | None
    names: Mapping[UUID, str]


def screen(actor: Actor, customer_id: UUID) -> Screen:
    """Everything about a customer. Raises Forbidden, NotFound."""
    operators.authorise(actor, Right.VIEW)
    customer = _customer(customer_id)
    account_audit.record(
        action="customer.viewed", actor=actor, organization_id=customer_id, target=customer_id
    )
    timeline = _timeline(customer_id)
    noted = list(BillingAudit.objects.filter(customer_id=customer_id).order_by("-seq")[:ROWS])
    people = {entry.txn.actor_id for entry in timeline} | {entry.actor_id for entry in noted}
    budgets = Budget.objects.filter(customer=customer_id, deleted_at__isnull=True)
    return Screen(
        customer=customer,
        balance=_balance(customer),
        margin=_margin(customer_id),
        budgets=filled(list(budgets.order_by("created_at")[:ROWS])),
        timeline=timeline,
        lots=_lots(customer_id),
        holds=list(
            Hold.objects.filter(customer=customer_id, state__in=LIVE).order_by("-created_at")[:ROWS]
        ),
        top_ups=list(TopUp.objects.filter(customer=customer_id).order_by("-created_at")[:ROWS]),
        webhooks=_webhooks(customer),
        messages=list(
            StripeOutbox.objects.filter(customer=customer_id, state=MessageState.DEAD).order_by(
                "-created_at"
            )[:ROWS]
        ),
        recon_lines=list(
            ReconLine.objects.filter(
                run__organization=customer_id, status__in=UNDECIDED, is_dry_run=False
            ).order_by("-day", "model")[:ROWS]
        ),
        requests=list(
            ApprovalRequest.objects.filter(customer=customer_id)
            .select_related("proposer", "approver")
            .order_by("-created_at")[:ROWS]
        ),
        audit=noted,
        verified=BillingAudit.objects.filter(action=VERIFIED).order_by("-seq").first(),
        names=_names(people),
    )


def after(
    customer_id: UUID, *, paid_usd: Decimal = money.ZERO, promo_usd: Decimal = money.ZERO
) -> tuple[Balance, Balance]:
    """A customer's balance now, and after a move: the preview of a dialog. Raises NotFound."""
    before = _balance(_customer(customer_id))
    return before, replace(before, posted=before.posted + paid_usd, promo=before.promo + promo_usd)


def ask_verification(*, actor: Actor, customer_id: UUID, grounds: Grounds, token: UUID) -> Outcome:
    """Let a worker check every invariant; the result is an entry of the audit. Raises Forbidden."""
    operators.authorise(actor, Right.VERIFY)

    def work() -> Outcome:
        facts.publish(
            "verification.requested", key=str(token), payload={"actor_id": str(actor.user_id)}
        )
        audit.record(
            action="verification.requested",
            actor=actor,
            customer_id=customer_id,
            details={"reason": grounds.reason, "ticket": grounds.ticket, "note": grounds.note},
        )
        return Outcome(is_done=True, target=str(token))

    return tokens.once(actor=actor, token=token, work=work)


def verify() -> int:
    """Check every invariant and note the result; how many rows are broken."""
    found = verification.breaches()
    rows = [f"{breach.code} {breach.row}" for breach in found[:_SHOWN_BREACHES]]
    audit.record(action=VERIFIED, details={"broken": len(found), "rows": "\n".join(rows)})
    return len(found)


def _customer(customer_id: UUID) -> Customer:
    customer = Customer.objects.select_related("organization").filter(pk=customer_id).first()
    if customer is None:
        raise NotFound
    return customer


def _balance(customer: Customer) -> Balance:
    rows = {row.kind: row for row in LedgerAccount.objects.filter(customer=customer)}
    paid, promo = rows[AccountKind.WALLET], rows[AccountKind.WALLET_PROMO]
    return Balance(
        posted=paid.posted, promo=promo.posted, held=paid.held, limit=customer.postpaid_limit
    )


def _margin(customer_id: UUID) -> Margin:
    since = (clock.now() - timedelta(days=DAYS)).replace(minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(_MARGIN, {"customer": customer_id, "since": since})
        revenue, cost = cursor.fetchone()
    return Margin(revenue_usd=revenue, cost_usd=cost)


def _timeline(customer_id: UUID) -> list[LedgerEntry]:
    entries = LedgerEntry.objects.filter(account__customer=customer_id)
    return list(
        entries.select_related("txn", "account").order_by("-txn__created_at", "-account_seq")[:ROWS]
    )


def _lots(customer_id: UUID) -> list[CreditLot]:
    lots = CreditLot.objects.filter(account__customer=customer_id, remaining__gt=0)
    return list(lots.order_by("-kind", "priority", "expires_at", "created_at")[:ROWS])


def _webhooks(customer: Customer) -> list[StripeInbox]:
    """Events that could not be applied and name the customer, or a payment of it."""
    named = Q(body__data__object__metadata__organization_id=str(customer.pk))
    if customer.stripe_customer_id:
        named |= Q(body__data__object__customer=customer.stripe_customer_id)
    failed = StripeInbox.objects.filter(named, state=InboxState.FAILED)
    return list(failed.order_by("-received_at")[:ROWS])


def _names(people: Iterable[UUID | None]) -> dict[UUID, str]:
    wanted = [person for person in people if person is not None]
    return dict(User.objects.filter(pk__in=wanted).values_list("pk", "email"))


# The folded hours, and the rows that no fold has read yet: one statement, so one moment.
_MARGIN: Final = """
SELECT coalesce(sum(billed_cost), 0::numeric),
       coalesce(sum(estimated_cost - byok_estimated_cost), 0::numeric)
FROM (
    SELECT billed_cost, estimated_cost, byok_estimated_cost FROM usage_hourly
    WHERE customer_id = %(customer)s AND hour >= %(since)s
    UNION ALL
    SELECT billed_cost, estimated_cost, byok_estimated_cost FROM usage_effective
    WHERE customer_id = %(customer)s AND occurred_at >= %(since)s
      AND commit_xid >= (SELECT folded_before FROM billing_rollup_watermark)
) AS used
"""
