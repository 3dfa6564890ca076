"""What a call turned out to be: corrections beside events, and the money that follows them."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import Organization
from billing.errors import (
    CorrectionNotApproved,
    CorrectionReused,
    CorrectionTooLarge,
    UsageMovedOtherwise,
)
from billing.models import (
    BudgetAlert,
    CreditLot,
    LedgerEntry,
    LedgerTxn,
    UsageCorrection,
    UsageEffective,
    UsageEvent,
)
from billing.services import (
    approvals,
    correction_reviews,
    corrections,
    holds,
    ledger,
    usage,
    verification,
)
from billing.services.adjustments import Grounds
from billing.services.corrections import Change
from billing.types import BillingMode, CorrectionReason, TxnKind, UnitClass
from ideplatform.kit import ids, money
from ideplatform.kit.errors import NotFound
from tests.billing.calls import SIMULATOR, publish, tokens, usd
from tests.billing.console.people import an_operator
from tests.billing.funds import a_budget, a_customer, a_reservation, money_of, period_of, the_call

COST = usd("0.0014")
ANA, BEA = ids.new(), ids.new()


@pytest.fixture
def team(db) -> Organization:
    publish(SIMULATOR)
    return a_customer(paid="10", promo="0.001")


def settled(team: Organization, **facts: object) -> UsageEvent:
    """A call of 0.0014 USD: 0.001 of it promotional."""
    call = a_reservation(team, "1", **facts)
    holds.reserve(call)
    return UsageEvent.objects.get(pk=usage.settle(the_call(call)).event_id)


def correct(event: UsageEvent, key: str = "one", **facts: object) -> UsageCorrection:
    values: dict[str, object] = {
        "change": Change(),
        "reason": CorrectionReason.PRICE_ERROR,
        "created_by_id": ANA,
        "approved_by_id": BEA,
    } | facts
    return corrections.correct(event_id=event.pk, key=key, **values)  # type: ignore[arg-type]


def legs_of(txn: LedgerTxn | None) -> dict[str, object]:
    return dict(
        LedgerEntry.objects.filter(txn=txn).values_list("account__kind", "amount").order_by()
    )


def sum_of(kind: str) -> object:
    return ledger.total_of(kind)


def sound() -> bool:
    return verification.breaches() == []


def test_giving_back_reverses_what_was_moved_and_posts_what_should_have_been(team):
    budget = a_budget(team)
    event = settled(team)
    assert money_of(team) == (usd("9.9996"), 0, 0)
    change = Change(estimated_cost=usd("-0.0004"), billed_cost=usd("-0.0008"))
    row = correct(event, change=change)
    # 0.0006 is left to pay: all of it promotional again.
    assert money_of(team) == (10, usd("0.0004"), 0)
    assert period_of(budget) == (usd("0.0006"), 0)
    assert legs_of(row.txn) == {
        "wallet_promo": usd("-0.0006"),
        "revenue_usage": usd("0.0006"),
        "provider_cogs": usd("-0.001"),
        "provider_payable:openai_compatible": usd("0.001"),
    }
    reversal = LedgerTxn.objects.get(kind=TxnKind.REVERSAL)
    assert (reversal.reverses_id, reversal.reason) == (event.txn_id, "price_error")
    assert sum_of("revenue_usage") == usd("0.0006")
    assert sum_of("provider_payable:openai_compatible") == usd("0.001")
    assert sound()


def test_lots_get_back_what_was_taken_from_them(team):
    event = settled(team)
    correct(event, change=Change(estimated_cost=-COST, billed_cost=-COST))
    lots = CreditLot.objects.order_by("amount").values_list("amount", "remaining")
    assert list(lots) == [(usd("0.001"), usd("0.001")), (10, 10)]
    assert money_of(team) == (10, usd("0.001"), 0)
    assert UsageCorrection.objects.get().txn is None
    assert sound()


def test_a_vendor_that_charges_more_costs_us_and_nobody_else(team):
    event = settled(team)
    before = money_of(team)
    row = correct(
        event,
        change=Change(estimated_cost=usd("0.0006")),
        reason=CorrectionReason.LATE_REPORT,
        created_by_id=None,
        approved_by_id=None,
    )
    assert money_of(team) == before
    assert legs_of(row.txn) == {
        "provider_cogs": usd("-0.0006"),
        "provider_payable:openai_compatible": usd("0.0006"),
    }
    assert row.txn is not None
    assert row.txn.kind == TxnKind.TRUE_UP
    assert sound()


def test_corrections_add_up_one_after_the_other(team):
    event = settled(team)
    correct(event, "1", change=Change(estimated_cost=usd("0.0006")), approved_by_id=None)
    correct(event, "2", change=Change(billed_cost=usd("-0.0004")))
    third = correct(
        event, "3", change=Change(estimated_cost=usd("-0.002"), billed_cost=-usd("0.001"))
    )
    assert third.number == 3
    found = corrections.effective(event)
    assert {found.estimated_cost, found.billed_cost} == {usd("0")}
    assert found.corrections == 3
    assert money_of(team) == (10, usd("0.001"), 0)
    for kind in ("revenue_usage", "provider_cogs", "provider_payable:openai_compatible"):
        assert sum_of(kind) == 0
    assert sound()


@pytest.mark.parametrize(
    "people",
    [
        {"created_by_id": ANA, "approved_by_id": None},
        {"created_by_id": ANA, "approved_by_id": ANA},
        {"created_by_id": None, "approved_by_id": BEA},
        {"created_by_id": None, "approved_by_id": None},
    ],
)
def test_nobody_is_charged_more_without_two_persons(team, people):
    event = settled(team)
    before = money_of(team)
    with pytest.raises(CorrectionNotApproved):
        correct(event, change=Change(billed_cost=usd("0.000000000001")), **people)
    assert (money_of(team), UsageCorrection.objects.count()) == (before, 0)
    assert LedgerTxn.objects.filter(kind=TxnKind.REVERSAL).count() == 0
    # Nor past the service.
    with pytest.raises(DatabaseError, match="usage_corrections"), transaction.atomic():
        UsageCorrection.objects.create(
            event=event,
            number=1,
            idempotency_key="x",
            reason="goodwill",
            delta_billed_cost=1,
            **people,
        )


def by_two(event: UsageEvent, change: Change) -> UsageCorrection:
    """Asked for by one operator, approved by another."""
    asked = correction_reviews.request(
        actor=an_operator("billing_support"),
        event_id=event.pk,
        change=change,
        reason=CorrectionReason.PRICE_ERROR,
        grounds=Grounds(reason="The price was wrong", ticket="T-1"),
    )
    done = approvals.approve(
        actor=an_operator("billing_manager"),
        request_id=asked.pk,
        payload_hash=approvals.digest(asked),
    )
    connection.check_constraints()  # what a commit would ask
    return UsageCorrection.objects.get(pk=done.result)


def test_two_persons_may_charge_what_was_missing(team):
    budget = a_budget(team, None, soft=usd("0.003"), alert_steps=[50])
    event = settled(team)
    assert BudgetAlert.objects.count() == 0
    row = by_two(event, Change(billed_cost=usd("0.0002"), quantities={UnitClass.OUTPUT: 5}))
    assert (row.note, row.delta_tokens_output) == ("The price was wrong", 5)
    assert money_of(team) == (usd("9.9994"), 0, 0)
    assert period_of(budget) == (usd("0.0016"), 0)
    assert BudgetAlert.objects.get().spent == usd("0.0016")
    assert sound()


def test_giving_back_needs_an_approver_and_a_lot_of_it_another_person(team):
    event = settled(team)
    with pytest.raises(CorrectionNotApproved):
        correct(event, change=Change(billed_cost=usd("-0.0001")), approved_by_id=None)
    rich = a_customer(paid="1000")
    call = a_reservation(rich, "500")
    holds.reserve(call)
    dear = usage.settle(the_call(call, tokens=tokens(input=200_000_000)))
    large = UsageEvent.objects.get(pk=dear.event_id)
    assert large.billed_cost > 150
    back = Change(billed_cost=usd("-100.01"))
    for creator in (BEA, None):
        with pytest.raises(CorrectionNotApproved):
            correct(large, change=back, created_by_id=creator, approved_by_id=BEA)
    assert UsageCorrection.objects.count() == 0
    row = by_two(large, back)
    assert {row.created_by_id, row.approved_by_id} & {None, ANA, BEA} == set()
    assert corrections.effective(large).billed_cost == large.billed_cost - usd("100.01")


@pytest.mark.parametrize("amount", ["0.000000000001", "-100.000000000001"])
def test_names_of_two_persons_are_no_approval(team, amount):
    """Whoever may call services or write rows can name anybody; the commit asks for the request."""
    rich = a_customer(paid="1000")
    call = a_reservation(rich, "500")
    holds.reserve(call)
    dear = usage.settle(the_call(call, tokens=tokens(input=200_000_000)))
    event = UsageEvent.objects.get(pk=dear.event_id)
    correct(event, change=Change(billed_cost=usd(amount)))
    with pytest.raises(DatabaseError, match="second person"):
        connection.check_constraints()


def test_an_approval_of_another_correction_is_none(team):
    event = settled(team)
    by_two(event, Change(billed_cost=usd("0.0002")))
    correct(event, change=Change(billed_cost=usd("0.0003")))
    with pytest.raises(DatabaseError, match="second person"):
        connection.check_constraints()


def test_a_repeated_correction_changes_nothing(team):
    event = settled(team)
    change = Change(billed_cost=usd("-0.0004"))
    first, again = correct(event, change=change), correct(event, change=change)
    assert first.pk == again.pk
    assert UsageCorrection.objects.count() == 1
    with pytest.raises(CorrectionReused):
        correct(event, change=Change(billed_cost=usd("-0.0003")))
    assert corrections.effective(event).billed_cost == usd("0.001")


def test_the_customers_own_key_moves_no_money(team):
    budget = a_budget(team, counts_byok=True)
    event = settled(team, billing_mode=BillingMode.BYOK)
    before = LedgerTxn.objects.count()
    row = correct(event, change=Change(estimated_cost=usd("-0.0004")), approved_by_id=None)
    assert (row.txn, LedgerTxn.objects.count()) == (None, before)
    assert period_of(budget) == (usd("0.001"), 0)
    with pytest.raises(CorrectionNotApproved):
        correct(event, "two", change=Change(billed_cost=usd("0.0004")))
    assert sound()


def test_an_unpriced_call_is_priced_once(team):
    settlement = usage.settle(
        the_call(a_reservation(team), requested_model="mystery", served_model="mystery")
    )
    event = UsageEvent.objects.get(pk=settlement.event_id)
    assert event.estimated_cost is None
    with pytest.raises(DatabaseError, match="priced once"), transaction.atomic():
        UsageCorrection.objects.create(
            event=event, number=1, idempotency_key="x", reason="goodwill", delta_estimated_cost=1
        )
    first = correct(event, "1", change=Change(estimated_cost=usd("0.25")), approved_by_id=None)
    second = correct(event, "2", change=Change(estimated_cost=usd("-0.05")), approved_by_id=None)
    assert (first.gives_price, second.gives_price) == (True, False)
    assert corrections.effective(event).estimated_cost == usd("0.2")
    assert sum_of("provider_payable:openai_compatible") == usd("0.2")
    assert sum(UsageEffective.objects.values_list("unpriced_requests", flat=True)) == 0
    assert sound()


@pytest.mark.parametrize(
    "change",
    [
        Change(billed_cost=usd("-0.001400000001")),
        Change(estimated_cost=usd("-0.001400000001")),
        Change(quantities={UnitClass.INPUT: -1_001}),
        Change(quantities={UnitClass.OUTPUT: -201}),
        Change(quantities={UnitClass.INPUT: -1_000, UnitClass.CACHE_READ: -1}),
    ],
)
def test_less_than_nothing_is_refused(team, change):
    event = settled(team)
    with pytest.raises(CorrectionTooLarge):
        correct(event, change=change)
    assert (UsageCorrection.objects.count(), sound()) == (0, True)


def test_the_database_refuses_less_than_nothing_too(team):
    event = settled(team)
    with pytest.raises(DatabaseError, match="less than nothing"), transaction.atomic():
        UsageCorrection.objects.create(
            event=event,
            number=1,
            idempotency_key="x",
            reason="duplicate",
            delta_billed_cost=usd("-1"),
            approved_by_id=BEA,
        )


def test_a_call_that_was_refunded_by_hand_is_not_corrected_blindly(team):
    event = settled(team)
    assert event.txn_id is not None
    ledger.reverse(txn_id=event.txn_id, actor_id=ANA, reason="refund")
    before = money_of(team)
    with pytest.raises(UsageMovedOtherwise):
        correct(event, change=Change(billed_cost=usd("-0.0004")))
    assert money_of(team) == before


def test_the_view_has_the_event_and_its_corrections_as_rows(team):
    event = settled(team)
    correct(
        event,
        change=Change(
            estimated_cost=usd("-0.001"),
            saved_by_cache=usd("0.002"),
            quantities={UnitClass.INPUT: -500, UnitClass.CACHE_READ: 400},
        ),
        approved_by_id=None,
    )
    rows = UsageEffective.objects.order_by("number").values_list(
        "event_id",
        "requests",
        "tokens_input",
        "tokens_cache_read",
        "estimated_cost",
        "saved_by_cache",
    )
    assert list(rows) == [
        (event.pk, 1, 1_000, 0, COST, 0),
        (event.pk, 0, -100, 400, usd("-0.001"), usd("0.002")),
    ]
    assert set(UsageEffective.objects.values_list("occurred_at")) == {(event.occurred_at,)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_usage_corrections SET note = 'x'",
        "DELETE FROM billing_usage_corrections",
        "TRUNCATE billing_usage_corrections",
        "TRUNCATE billing_usage_corrections CASCADE",
    ],
)
def test_a_correction_never_changes(team, statement):
    event = settled(team)
    correct(event, change=Change(billed_cost=usd("-0.0004")))
    connection.check_constraints()
    cursor = connection.cursor()
    with pytest.raises(DatabaseError, match="refused"), transaction.atomic():
        cursor.execute(statement)
    assert UsageCorrection.objects.get().note == ""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_ledger_entries SET amount = amount * 2 WHERE txn_id ="
        " (SELECT txn_id FROM billing_usage_corrections)",
        "UPDATE billing_usage_corrections SET delta_billed_cost = delta_billed_cost / 2",
    ],
)
def test_a_correction_and_money_that_disagree_are_named(team, statement):
    row = correct(settled(team), change=Change(billed_cost=usd("-0.0004")))
    connection.check_constraints()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger stands guard
        cursor.execute(statement)
    found = [breach for breach in verification.breaches() if breach.code == "I7"]
    assert any(str(row.pk) in breach.row for breach in found)


def test_an_unknown_event_is_not_found(team):
    with pytest.raises(NotFound):
        corrections.correct(
            event_id=ids.new(),
            change=Change(estimated_cost=money.ZERO),
            reason=CorrectionReason.GOODWILL,
            key="x",
        )
