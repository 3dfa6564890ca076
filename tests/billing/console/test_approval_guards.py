"""Two persons in the database: whatever a shell writes, it has the last word."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from accounts.models import RefreshSession
from billing import price_files
from billing.models import (
    ApprovalRequest,
    Customer,
    Price,
    PriceVersion,
    StripeOutbox,
    TopUp,
    TwoPersonRule,
)
from billing.services import adjustments, ledger, price_versions
from billing.services.ledger import Leg
from billing.types import ApprovalKind, LotKind, TxnKind
from ideplatform.kit import ids
from tests.billing.calls import SIMULATOR, a_list, publish, usd
from tests.billing.console.asking import WHY, a_request, commit, committed
from tests.billing.console.people import an_operator, approved
from tests.billing.funds import a_customer, give, money_of

pytestmark = pytest.mark.django_db


REFUSED = r"second person|what was approved|hand_moves|begin and end"


def shell_adjust(team, amount="101", **more):
    ledger.adjust(
        customer_id=team.pk,
        amount_usd=usd(amount),
        key=f"shell:{ids.new()}",
        actor_id=more.pop("actor_id", None),
        reason="shell",
        **more,
    )


def shell_post(team, kind, amount, account="wallet", against="cash", **more):
    legs = [
        Leg(kind=account, amount_usd=usd(amount), customer_id=team.pk),
        Leg(kind=against, amount_usd=-usd(amount)),
    ]
    ledger.post(kind=kind, key=f"shell:{ids.new()}", legs=legs, **more)


def credit(team, kind, amount, **more):
    ledger.credit(
        customer_id=team.pk, amount_usd=usd(amount), kind=kind, key=f"s:{ids.new()}", **more
    )


def no_more_than_the_day(team):
    operator = an_operator("billing_manager")
    for _ in range(6):
        shell_adjust(team, "99", actor_id=operator.user_id)


def of_somebody_else(team):
    other = a_customer()
    request = approved(ApprovalKind.ADJUSTMENT, other.pk, amount_usd="500")
    shell_adjust(team, "500", links={"approval": str(request.pk)})


def twice(team):
    request = approved(ApprovalKind.ADJUSTMENT, team.pk, amount_usd="500")
    for _ in range(2):
        shell_adjust(team, "500", links={"approval": str(request.pk)})


def a_little_more(team):
    request = approved(ApprovalKind.ADJUSTMENT, team.pk, amount_usd="500")
    shell_adjust(team, "500.000000000001", links={"approval": str(request.pk)})


def another_welcome(team):
    person = an_operator().user_id
    ledger.credit(
        customer_id=team.pk, amount_usd=usd("101"), kind=LotKind.PROMO, key=f"welcome:team:{person}"
    )


def a_reversal(team):
    ledger.reverse(txn_id=give(team, usd("5")).pk, actor_id=None, reason="shell")


def a_swap(team):
    other = a_customer()
    legs = [
        Leg(kind="wallet", amount_usd=usd("5"), customer_id=team.pk),
        Leg(kind="wallet", amount_usd=usd("-5"), customer_id=other.pk),
    ]
    ledger.post(kind=TxnKind.ADJUSTMENT, key="swap", legs=legs)


def a_vendor_bill(team):
    legs = [
        Leg(kind="provider_cogs", amount_usd=usd("50.01")),
        Leg(kind="cash", amount_usd=usd("-50.01")),
    ]
    ledger.post(kind=TxnKind.TRUE_UP, key="bill", legs=legs, actor_id=an_operator().user_id)


def a_refund(team):
    top_up = TopUp.objects.filter(customer=team.pk).get()
    StripeOutbox.objects.create(
        kind="refund",
        customer_id=team.pk,
        top_up=top_up,
        payload={"amount": 1_000_000},
        idempotency_key="shell",
    )


BYPASSES = {
    "credit": shell_adjust,
    "debit": lambda team: shell_adjust(team, "-0.01"),
    "promo": lambda team: credit(team, LotKind.PROMO, "100.01"),
    "paid credit without a payment": lambda team: credit(team, LotKind.PAID, "100.01"),
    "a made-up approval": lambda team: shell_adjust(team, links={"approval": str(ids.new())}),
    "another customer's approval": of_somebody_else,
    "one approval twice": twice,
    "a little more than approved": a_little_more,
    "many small ones": no_more_than_the_day,
    "usage that gives": lambda team: shell_post(team, TxnKind.USAGE, "101"),
    "a correction of no call": lambda team: shell_post(team, TxnKind.CORRECTION, "-5"),
    "an expiry of no lot": lambda team: shell_post(team, TxnKind.EXPIRY, "-5"),
    "a refund of no payment": lambda team: shell_post(team, TxnKind.REFUND, "-5"),
    "welcome credit": another_welcome,
    "a reversal": a_reversal,
    "from one customer to another": a_swap,
    "a vendor's bill": a_vendor_bill,
    "a refund by Stripe": a_refund,
    "a limit": lambda team: Customer.objects.filter(pk=team.pk).update(postpaid_limit=1),
}


@pytest.mark.parametrize("bypass", BYPASSES.values(), ids=BYPASSES)
def test_the_shell_does_not_commit_alone(team, bypass):
    commit()
    before = money_of(team), StripeOutbox.objects.count()
    with pytest.raises(IntegrityError, match=REFUSED):
        committed(bypass, team)
    assert (money_of(team), StripeOutbox.objects.count()) == before


def publish_alone():
    listed = price_files.read({"a.json": a_list(a="0.000001")})
    version_id = price_versions.draft(listed=listed, note="")
    assert version_id
    price_versions.publish(version_id=version_id)


def flip_a_draft():
    row = Price.objects.filter(is_published=True).first()
    assert row
    row.pk, row.pattern, row.is_published = ids.new(), "other", False
    row.version = PriceVersion.objects.create()
    row.save(force_insert=True)
    Price.objects.filter(pattern="other").update(is_published=True)


PRICE_BYPASSES = {"publish": publish_alone, "flip a draft's price": flip_a_draft}


@pytest.mark.parametrize("bypass", PRICE_BYPASSES.values(), ids=PRICE_BYPASSES)
def test_the_shell_does_not_price_alone(bypass):
    publish(SIMULATOR)
    commit()
    before = list(Price.objects.order_by("pk").values())
    with pytest.raises(IntegrityError, match=REFUSED):
        committed(bypass)
    assert list(Price.objects.order_by("pk").values()) == before


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"amount_usd": "1"}},
        {"kind": "promo"},
        {"reason": "other"},
        {"payload_hash": b"x" * 32},
        {"expires_at": Now() + timedelta(days=9)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_request_asks_for_never_changes(team, asker, change):
    request = a_request(asker, team)
    with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
        ApprovalRequest.objects.filter(pk=request.pk).update(**change)


def by_oneself(request, asker):
    return {"approver": asker.user_id, "approver_session_id": asker.session_id}


def by_a_stranger(request, asker):
    return {"approver": an_operator().user_id, "approver_session_id": ids.new()}


def with_anothers_session(request, asker):
    return {"approver": an_operator().user_id, "approver_session_id": asker.session_id}


def by_nobody(request, asker):
    return {}


def by_one_signed_out(request, asker):
    other = an_operator()
    RefreshSession.objects.filter(user=other.user_id).update(revoked_at=Now())
    return {"approver": other.user_id, "approver_session_id": other.session_id}


@pytest.mark.parametrize(
    "who", [by_oneself, by_a_stranger, with_anothers_session, by_nobody, by_one_signed_out]
)
@pytest.mark.parametrize("state", ["approved", "applied"])
def test_a_row_is_not_approved_by_writing_it(team, asker, who, state):
    request = a_request(asker, team)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApprovalRequest.objects.filter(pk=request.pk).update(
            state=state, decided_at=Now(), **who(request, asker)
        )
    request.refresh_from_db()
    assert request.state == "open"


def test_no_request_is_born_approved(team, asker, manager):
    with pytest.raises(IntegrityError, match="begins open"), transaction.atomic():
        ApprovalRequest.objects.create(
            kind="adjustment",
            payload={},
            reason="r",
            proposer_id=asker.user_id,
            approver_id=manager.user_id,
            approver_session_id=manager.session_id,
            state="approved",
            decided_at=Now(),
        )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM billing_approval_requests",
        "TRUNCATE billing_approval_requests CASCADE",
        "DELETE FROM billing_hand_moves",
        "INSERT INTO billing_hand_moves VALUES (gen_random_uuid(), NULL, now(), 1, NULL)",
        "TRUNCATE billing_hand_moves",
        "DELETE FROM billing_two_person_rule",
        "TRUNCATE billing_two_person_rule",
    ],
)
def test_the_rule_and_its_records_stay(team, asker, statement):
    a_request(asker, team)
    adjustments.correct(
        actor=asker, customer_id=team.pk, amount_usd=usd("1"), grounds=WHY, token=ids.new()
    )
    commit()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_role_of_the_application_cannot_raise_the_amounts():
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE ide_test_app")
        cursor.execute("GRANT ALL ON billing_two_person_rule TO ide_test_app")
        cursor.execute("SET LOCAL ROLE ide_test_app")
        with pytest.raises(IntegrityError, match="owner"), transaction.atomic():
            TwoPersonRule.objects.update(amount=1_000_000, per_day=1_000_000)
        cursor.execute("RESET ROLE")
    assert TwoPersonRule.objects.get().amount == 100
