"""The dialogs of the customer's screen: what each asks, shows beforehand and does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from accounts.types import Actor
from billing.admin import forms
from billing.models import Customer, LedgerTxn, TopUp
from billing.services import adjustments, console, two_persons
from billing.services.tokens import Outcome
from billing.stripe import refunds
from billing.types import Balance, Right
from ideplatform.kit import money
from ideplatform.kit.errors import NotFound
from ideplatform.kit.serializers import wrong

ALWAYS: Final = "This always takes two persons."


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Who is at the desk, and whose money it is about."""

    actor: Actor
    customer_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would change: name, before, after. `why_two` is "" where one person is enough."""

    lines: Sequence[tuple[str, str, str]]
    why_two: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogPage:
    """One dialog: the right it needs, what it shows, what it does."""

    title: str
    right: Right
    form: type[forms.Dialog]
    preview: Callable[[Case, Any], Preview]
    work: Callable[[Case, Any], Outcome]


def _lines(before: Balance, after: Balance) -> list[tuple[str, str, str]]:
    names = (
        ("Paid", "posted"), ("Promotional", "promo"), ("Limit", "limit"), ("Available", "available")
    )  # fmt: skip
    pairs = [(name, getattr(before, key), getattr(after, key)) for name, key in names]
    return [(name, f"{was:f}", f"{now:f}") for name, was, now in pairs if was != now]


def _shown_move(sign: int) -> Callable[[Case, forms.Amount], Preview]:
    def preview(case: Case, form: forms.Amount) -> Preview:
        amount = sign * form.cleaned_data["amount_usd"]
        return Preview(
            lines=_lines(*console.after(case.customer_id, paid_usd=amount)),
            why_two=two_persons.why_two(operator_id=case.actor.user_id, amount_usd=amount),
        )

    return preview


def _moved(sign: int) -> Callable[[Case, forms.Amount], Outcome]:
    def work(case: Case, form: forms.Amount) -> Outcome:
        return adjustments.correct(
            actor=case.actor,
            customer_id=case.customer_id,
            amount_usd=sign * form.cleaned_data["amount_usd"],
            grounds=form.grounds(),
            token=form.cleaned_data["token"],
        )

    return work


def _shown_promo(case: Case, form: forms.Promo) -> Preview:
    amount = form.cleaned_data["amount_usd"]
    return Preview(
        lines=_lines(*console.after(case.customer_id, promo_usd=amount)),
        why_two=two_persons.why_two(operator_id=case.actor.user_id, amount_usd=amount),
    )


def _promo_given(case: Case, form: forms.Promo) -> Outcome:
    return adjustments.give_promo(
        actor=case.actor,
        customer_id=case.customer_id,
        amount_usd=form.cleaned_data["amount_usd"],
        expires_at=_utc(form.cleaned_data["expires_at"]),
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _shown_limit(case: Case, form: forms.Limit) -> Preview:
    before, _ = console.after(case.customer_id)
    limit = form.cleaned_data["limit_usd"]
    return Preview(lines=[("Limit", f"{before.limit:f}", f"{limit:f}")], why_two=ALWAYS)


def _limit_set(case: Case, form: forms.Limit) -> Outcome:
    return adjustments.set_limit(
        actor=case.actor,
        customer_id=case.customer_id,
        limit_usd=form.cleaned_data["limit_usd"],
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _refunded(case: Case, form: forms.Refund) -> tuple[TopUp, int, Decimal]:
    """The top-up, which is this customer's, and the amount in minor units and in USD."""
    top_up = TopUp.objects.filter(pk=form.cleaned_data["top_up"], customer=case.customer_id).first()
    if top_up is None:
        raise wrong("/top_up", "no top-up of this customer")
    minor = int(form.cleaned_data["amount_usd"] * 100)
    return top_up, minor, money.quantise(top_up.credited * minor / top_up.amount_minor)


def _shown_refund(case: Case, form: forms.Refund) -> Preview:
    _, _, amount = _refunded(case, form)
    return Preview(
        lines=_lines(*console.after(case.customer_id, paid_usd=-amount)),
        why_two=two_persons.why_two(operator_id=case.actor.user_id, amount_usd=amount),
    )


def _refund_asked(case: Case, form: forms.Refund) -> Outcome:
    top_up, minor, _ = _refunded(case, form)
    return refunds.refund(
        actor=case.actor,
        top_up_id=top_up.pk,
        amount_minor=minor,
        cause=form.cleaned_data["cause"],
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _shown_undo(case: Case, form: forms.Undo) -> Preview:
    txn = LedgerTxn.objects.filter(
        pk=form.cleaned_data["txn"], entries__account__customer=case.customer_id
    ).first()
    if txn is None:
        raise wrong("/txn", "no transaction of this customer")
    legs = txn.entries.filter(account__customer=case.customer_id).select_related("account")
    moved = {leg.account.kind: -leg.amount for leg in legs}
    before, after = console.after(
        case.customer_id,
        paid_usd=moved.get("wallet", money.ZERO),
        promo_usd=moved.get("wallet_promo", money.ZERO),
    )
    return Preview(lines=_lines(before, after), why_two=ALWAYS)


def _undo_asked(case: Case, form: forms.Undo) -> Outcome:
    _shown_undo(case, form)
    return adjustments.undo(
        actor=case.actor,
        txn_id=form.cleaned_data["txn"],
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _shown_status(status: str) -> Callable[[Case, forms.Dialog], Preview]:
    def preview(case: Case, _: forms.Dialog) -> Preview:
        customer = Customer.objects.filter(pk=case.customer_id).first()
        if customer is None:
            raise NotFound
        return Preview(lines=[("Status", customer.status, status)])

    return preview


def _parked(case: Case, form: forms.Dialog) -> Outcome:
    return adjustments.park(
        actor=case.actor,
        customer_id=case.customer_id,
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _released(case: Case, form: forms.Dialog) -> Outcome:
    return adjustments.release(
        actor=case.actor,
        customer_id=case.customer_id,
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _shown_verification(_case: Case, _form: forms.Dialog) -> Preview:
    return Preview(lines=[])


def _verification_asked(case: Case, form: forms.Dialog) -> Outcome:
    return console.ask_verification(
        actor=case.actor,
        customer_id=case.customer_id,
        grounds=form.grounds(),
        token=form.cleaned_data["token"],
    )


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None


def _page(
    title: str, right: Right, form: type[forms.Dialog], preview: Any, work: Any
) -> DialogPage:
    return DialogPage(title=title, right=right, form=form, preview=preview, work=work)


DIALOGS: Final = {
    "credit": _page("Credit", Right.ADJUST, forms.Amount, _shown_move(1), _moved(1)),
    "debit": _page("Debit", Right.ADJUST, forms.Amount, _shown_move(-1), _moved(-1)),
    "promo": _page("Promotional credit", Right.PROMO, forms.Promo, _shown_promo, _promo_given),
    "refund": _page("Refund", Right.REFUND, forms.Refund, _shown_refund, _refund_asked),
    "reverse": _page("Reverse", Right.ADJUST, forms.Undo, _shown_undo, _undo_asked),
    "limit": _page("Limit", Right.LIMIT, forms.Limit, _shown_limit, _limit_set),
    "park": _page("Park", Right.PARK, forms.Dialog, _shown_status("parked"), _parked),
    "release": _page("Release", Right.PARK, forms.Dialog, _shown_status("active"), _released),
    "verify": _page("Verify", Right.VERIFY, forms.Dialog, _shown_verification, _verification_asked),
}
