"""Two persons: no way around the second one, neither in the services nor in the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.errors import ReauthenticationRequired
from accounts.models import RefreshSession
from billing import price_files
from billing.errors import ApprovalClosed, ApprovalStale, SelfApproval
from billing.models import (
    ApprovalRequest,
    BillingAudit,
    Customer,
    HandMove,
    LedgerTxn,
    Price,
    PriceVersion,
    StripeOutbox,
    TopUp,
    TwoPersonRule,
)
from billing.services import adjustments, approvals, ledger, price_versions
from billing.services.adjustments import Grounds
from billing.services.ledger import Leg
from billing.types import ApprovalKind, LotKind, TxnKind
from ideplatform.kit import ids
from ideplatform.kit.errors import Forbidden, NotFound
from tests.billing.calls import SIMULATOR, a_list, publish, usd
from tests.billing.console.people import an_operator, approved
from tests.billing.funds import a_customer, give, money_of

pytestmark = pytest.mark.django_db
REFUSED = r"second person|what was approved|hand_moves|begin and end"
WHY = Grounds(reason="Outage of Friday", ticket="T-1", note="agreed by phone")


@pytest.fixture
def team():
    return a_customer(paid="10")


@pytest.fixture
def asker():
    return an_operator("billing_support")


@pytest.fixture
def manager():
    return an_operator("billing_manager")


def a_request(actor, team, amount="250"):
    outcome = adjustments.correct(
        actor=actor, customer_id=team.pk, amount_usd=usd(amount), grounds=WHY, token=ids.new()
    )
    assert not outcome.is_done
    return ApprovalRequest.objects.get(pk=outcome.target)


def approve(actor, request):
    return approvals.approve(
        actor=actor, request_id=request.pk, payload_hash=approvals.digest(request)
    )


def commit():
    """Let the database judge now what it judges at a commit."""
    connection.check_constraints()


@transaction.atomic
def committed(work, *values):
    work(*values)
    commit()


@pytest.mark.parametrize(("amount", "left"), [("250", 260), ("-4", 6)])
def test_a_second_person_approves_and_it_is_done(team, asker, manager, amount, left):
    request = a_request(asker, team, amount)
    assert money_of(team) == (10, 0, 0)
    done = approve(manager, request)
    commit()
    assert money_of(team) == (left, 0, 0)
    txn = LedgerTxn.objects.get(pk=done.result)
    assert (done.state, txn.kind, txn.reason) == ("applied", "adjustment", "Outage of Friday")
    assert (txn.actor_id, txn.links["approval"]) == (asker.user_id, str(request.pk))
    assert HandMove.objects.get(pk=txn.pk).approval_id == request.pk
    with pytest.raises(ApprovalClosed):
        approve(manager, request)
    assert list(BillingAudit.objects.order_by("seq").values_list("action", "actor_id")) == [
        ("approval.requested", asker.user_id),
        ("approval.applied", manager.user_id),
    ]


def test_nobody_approves_their_own_request_not_even_a_superuser(team):
    root = an_operator(is_superuser=True)
    request = a_request(root, team)
    with pytest.raises(SelfApproval):
        approve(root, request)
    request.refresh_from_db()
    assert (request.state, money_of(team)) == ("open", (10, 0, 0))


@pytest.mark.parametrize("group", ["billing_viewer", "billing_support", "auditor", ""])
def test_whoever_lacks_the_right_does_not_approve(team, asker, group):
    request = a_request(asker, team)
    with pytest.raises(Forbidden):
        approve(an_operator(*filter(None, [group])), request)
    request.refresh_from_db()
    assert request.state == "open"


def test_an_api_key_is_no_operator(team, asker, manager):
    request = a_request(asker, team)
    key = replace(manager, api_key_id=ids.new(), session_id=None, scopes=frozenset())
    with pytest.raises(Forbidden):
        approve(key, request)
    with pytest.raises(Forbidden):
        a_request(replace(asker, api_key_id=ids.new()), team)


def test_an_approver_has_proved_who_they_are_lately(team, asker, manager):
    request = a_request(asker, team)
    RefreshSession.objects.filter(user=manager.user_id).update(
        auth_at=F("auth_at") - timedelta(minutes=16)
    )
    with pytest.raises(ReauthenticationRequired):
        approve(manager, request)
    assert money_of(team) == (10, 0, 0)


def test_an_edit_voids_the_approval(team, asker, manager):
    request = a_request(asker, team)
    seen = approvals.digest(request)
    edited = approvals.amend(
        actor=asker,
        request_id=request.pk,
        payload=request.payload | {"amount_usd": "9999"},
        reason="more",
    )
    with pytest.raises(ApprovalClosed):
        approve(manager, request)
    with pytest.raises(ApprovalStale):
        approvals.approve(actor=manager, request_id=edited.pk, payload_hash=seen)
    with pytest.raises(Forbidden):
        approvals.amend(actor=manager, request_id=edited.pk, payload={}, reason="mine now")
    assert money_of(team) == (10, 0, 0)


def test_a_request_is_refused_or_withdrawn_once(team, asker, manager):
    refused, withdrawn = a_request(asker, team), a_request(asker, team)
    approvals.reject(actor=manager, request_id=refused.pk, note="No ticket")
    approvals.reject(actor=asker, request_id=withdrawn.pk)
    for request in (refused, withdrawn):
        with pytest.raises(ApprovalClosed):
            approve(manager, request)
        with pytest.raises(ApprovalClosed):
            approvals.reject(actor=manager, request_id=request.pk)
    with pytest.raises(NotFound):
        approvals.reject(actor=manager, request_id=ids.new())
    assert money_of(team) == (10, 0, 0)


def let_time_pass(request, **span):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        ApprovalRequest.objects.filter(pk=request.pk).update(
            expires_at=request.expires_at - timedelta(**span)
        )
        cursor.execute("SET LOCAL session_replication_role = origin")


def test_a_request_ends_after_72_hours(team, asker, manager):
    request, later = a_request(asker, team), a_request(asker, team)
    assert request.expires_at - request.created_at == timedelta(hours=72)
    let_time_pass(request, hours=72)
    with pytest.raises(ApprovalClosed):
        approve(manager, request)
    assert approvals.expire() == 1
    assert approvals.expire() == 0
    request.refresh_from_db()
    later.refresh_from_db()
    assert (request.state, later.state) == ("expired", "open")


def test_small_credit_needs_nobody_else_until_the_day_is_full(team, asker):
    for _ in range(5):
        outcome = adjustments.correct(
            actor=asker, customer_id=team.pk, amount_usd=usd("100"), grounds=WHY, token=ids.new()
        )
        commit()
        assert outcome.is_done
    assert money_of(team) == (510, 0, 0)
    a_request(asker, team, "0.01")
    other = an_operator("billing_support")
    assert adjustments.correct(
        actor=other, customer_id=team.pk, amount_usd=usd("1"), grounds=WHY, token=ids.new()
    ).is_done


def test_the_same_form_sent_twice_posts_once(team, asker):
    token = ids.new()
    sent = [
        adjustments.correct(
            actor=asker, customer_id=team.pk, amount_usd=usd("7"), grounds=WHY, token=token
        )
        for _ in range(2)
    ]
    assert sent[0] == sent[1]
    assert money_of(team) == (17, 0, 0)
    assert BillingAudit.objects.filter(action="wallet.adjusted").count() == 1


# --- the shell: whatever is written, the database has the last word


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
