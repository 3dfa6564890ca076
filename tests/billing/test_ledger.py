"""Money moves in balanced transactions, once each, and never changes afterwards."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from billing.errors import AlreadyReversed, TxnReused, TxnUnbalanced
from billing.models import CreditLot, LedgerAccount, LedgerEntry, LedgerTxn, LotUse
from billing.services import customers, holds, ledger, usage, verification
from billing.services.ledger import Grant, Leg
from billing.types import ApprovalKind, LotKind, TxnKind
from ideplatform.kit import clock
from tests.billing.calls import SIMULATOR, publish, tokens, usd
from tests.billing.console.people import approved
from tests.billing.funds import (
    a_customer,
    a_reservation,
    give,
    money_of,
    take,
    the_call,
    wallet,
)
from tests.factories import a_user, an_organization

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _money_adds_up(_database_manners):
    yield
    assert verification.breaches() == []


@pytest.fixture
def team():
    return a_customer()


def test_a_top_up_moves_from_clearing_to_the_wallet(team):
    txn = give(team, usd("12.5"))
    assert dict(txn.entries.values_list("account__kind", "amount")) == {
        "stripe_clearing": usd("-12.5"),
        "wallet": usd("12.5"),
    }
    entry = txn.entries.get(account__kind="wallet")
    assert (entry.account_seq, entry.balance_after) == (1, usd("12.5"))
    lot = CreditLot.objects.get()
    assert (lot.kind, lot.amount, lot.remaining) == ("paid", usd("12.5"), usd("12.5"))
    assert ledger.total_of("stripe_clearing") == usd("-12.5")


def test_one_key_is_one_movement(team):
    first = ledger.credit(customer_id=team.pk, amount_usd=usd("5"), kind=LotKind.PAID, key="test:1")
    again = ledger.credit(customer_id=team.pk, amount_usd=usd("5"), kind=LotKind.PAID, key="test:1")
    assert again.pk == first.pk
    with pytest.raises(TxnReused):
        ledger.credit(customer_id=team.pk, amount_usd=usd("6"), kind=LotKind.PAID, key="test:1")
    assert money_of(team) == (5, 0, 0)


def test_legs_that_do_not_sum_to_zero_are_refused(team):
    legs = [
        Leg(kind="cash", amount_usd=usd("-1")),
        Leg(kind="wallet", amount_usd=usd("1.000000000001"), customer_id=team.pk),
    ]
    with pytest.raises(TxnUnbalanced):
        ledger.post(kind=TxnKind.ADJUSTMENT, key="odd", legs=legs)
    assert not LedgerTxn.objects.filter(idempotency_key="odd").exists()


def test_the_database_refuses_a_millionth_of_a_millionth_too_much(team):
    txn = LedgerTxn.objects.create(
        kind="adjustment", idempotency_key="raw", digest=b"", effective_at=clock.now()
    )
    account = LedgerAccount.objects.get(kind="cash")
    with (
        pytest.raises(IntegrityError, match=r"is off by 0\.000000000001 USD"),
        transaction.atomic(),
    ):
        LedgerEntry.objects.bulk_create(
            [
                LedgerEntry(txn=txn, account=account, amount=usd("-1")),
                LedgerEntry(txn=txn, account=account, amount=usd("1.000000000001")),
            ]
        )
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(txn=txn, account=account, amount=usd("-1")),
            LedgerEntry(txn=txn, account=account, amount=usd("1")),
        ]
    )


FACTS = [LedgerTxn, LedgerEntry, LotUse]


@pytest.mark.parametrize("model", FACTS, ids=lambda model: model.__name__)
@pytest.mark.parametrize(
    "verb", ["UPDATE {0} SET id = id", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"]
)
def test_facts_never_change(team, model, verb):
    give(team, usd("1"))
    take(team, usd("1"))
    connection.check_constraints()
    with (
        pytest.raises(IntegrityError, match="is refused"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(verb.format(model._meta.db_table))


@pytest.mark.parametrize(
    "table",
    ["billing_customers", "billing_ledger_accounts", "billing_credit_lots", "billing_holds"],
)
def test_tables_of_money_are_never_emptied(team, table):
    connection.check_constraints()
    with (
        pytest.raises(IntegrityError, match="is refused"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"TRUNCATE {table} CASCADE")


def test_a_lot_cannot_be_made_larger(team):
    give(team, usd("1"))
    with pytest.raises(IntegrityError, match="only what remains"), transaction.atomic():
        CreditLot.objects.update(amount=2)
    with pytest.raises(IntegrityError, match="credit_lots_remaining"), transaction.atomic():
        CreditLot.objects.update(remaining=2)


def an_adjustment(team, amount):
    """A correction of the wallet that two people agreed on."""
    request = approved(ApprovalKind.ADJUSTMENT, team.pk, amount_usd=amount)
    ledger.adjust(
        customer_id=team.pk,
        amount_usd=usd(amount),
        key="a",
        actor_id=request.proposer_id,
        reason="r",
        links={"approval": str(request.pk)},
    )


def a_reversal(team, txn, amount):
    """The same for a transaction that is undone, which moves `amount`."""
    request = approved(ApprovalKind.REVERSAL, team.pk, amount_usd=amount)
    ledger.reverse(
        txn_id=txn.pk,
        actor_id=request.proposer_id,
        reason="refund",
        links={"approval": str(request.pk)},
    )


def test_an_adjustment_may_leave_a_debt_which_the_next_credit_pays(team):
    give(team, usd("1"))
    an_adjustment(team, "-3")
    assert money_of(team) == (-2, 0, 0)
    give(team, usd("1.5"))
    assert money_of(team) == (usd("-0.5"), 0, 0)
    give(team, usd("2"))
    assert money_of(team) == (usd("1.5"), 0, 0)
    assert list(CreditLot.objects.order_by("created_at").values_list("remaining", flat=True)) == [
        0,
        0,
        usd("1.5"),
    ]


def test_a_reversed_call_gives_each_lot_back_what_it_took(team):
    publish(SIMULATOR)
    give(team, usd("0.001"))
    give(team, usd("0.001"), kind=LotKind.PROMO)
    call = a_reservation(team, "0.001")
    holds.reserve(call)
    settled = usage.settle(the_call(call, tokens=tokens(input=1_600)))
    assert settled.billed_usd == usd("0.0016")
    assert money_of(team) == (usd("0.0004"), 0, 0)
    txn = LedgerTxn.objects.get(kind="usage")
    undone = ledger.reverse(txn_id=txn.pk, actor_id=None, reason="goodwill")
    assert ledger.reverse(txn_id=txn.pk, actor_id=None, reason="goodwill").pk == undone.pk
    assert money_of(team) == (usd("0.001"), usd("0.001"), 0)
    assert {lot.remaining for lot in CreditLot.objects.all()} == {usd("0.001")}
    assert [ledger.total_of(kind) for kind in ("revenue_usage", "provider_cogs")] == [0, 0]
    with pytest.raises(AlreadyReversed):
        ledger.reverse(txn_id=undone.pk, actor_id=None, reason="again")


def test_a_reversed_top_up_takes_its_own_lot_first_and_may_leave_a_debt(team):
    refunded, kept = give(team, usd("5")), give(team, usd("2"))
    take(team, usd("4"))
    a_reversal(team, refunded, "-5")
    assert money_of(team) == (-2, 0, 0)
    assert CreditLot.objects.get(source_txn=kept).remaining == 0


def test_a_reversed_top_up_that_was_not_spent_leaves_the_others_whole(team):
    refunded, kept = give(team, usd("5")), give(team, usd("2"))
    a_reversal(team, refunded, "-5")
    assert money_of(team) == (2, 0, 0)
    assert CreditLot.objects.get(source_txn=kept).remaining == 2


def test_a_reversal_after_a_debt_was_paid_becomes_credit_again(team):
    publish(SIMULATOR)
    call = a_reservation(team, "0")
    holds.reserve(call)
    usage.settle(the_call(call, tokens=tokens(input=1_000)))
    assert money_of(team) == (usd("-0.001"), 0, 0)
    give(team, usd("0.003"))
    ledger.reverse(txn_id=LedgerTxn.objects.get(kind="usage").pk, actor_id=None, reason="goodwill")
    assert money_of(team) == (usd("0.003"), 0, 0)


def test_what_expires_is_breakage_once(team):
    past, later = clock.now() - timedelta(seconds=1), clock.now() + timedelta(days=1)
    give(team, usd("3"), kind=LotKind.PROMO, grant=Grant(expires_at=past))
    give(team, usd("2"), kind=LotKind.PROMO, grant=Grant(expires_at=later))
    assert ledger.expire_lots() == 1
    assert ledger.expire_lots() == 0
    assert money_of(team) == (0, 2, 0)
    assert ledger.total_of("breakage") == 3


def test_a_person_is_welcomed_once_and_strangers_to_the_platform_are_not():
    person = a_user()
    organization = person.personal_organization
    for _ in range(2):
        customers.ensure([organization.pk])
    assert money_of(organization) == (0, 5, 0)
    nobody_s = an_organization()
    customers.ensure([nobody_s.pk])
    assert money_of(nobody_s) == (0, 0, 0)
    assert wallet(nobody_s).seq == 0
