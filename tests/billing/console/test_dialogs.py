"""What operators do in the console, over HTTP: every dialog, every role, once per form."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection

from billing import tasks
from billing.models import (
    ApprovalRequest,
    BillingAudit,
    Customer,
    LedgerTxn,
    StripeInbox,
    StripeOutbox,
    TopUp,
)
from ideplatform.kit import clock, ids
from ideplatform.outbox.models import Fact
from tests.accounts.rest import PASSWORD
from tests.billing.calls import usd
from tests.billing.console.desk import Desk, asked, hidden
from tests.billing.funds import a_customer, give, money_of

pytestmark = pytest.mark.django_db

# Which groups see and may use each dialog.
SUPPORT = {"billing_support", "billing_manager"}
MAY = {
    "credit": SUPPORT,
    "debit": SUPPORT,
    "promo": SUPPORT,
    "refund": SUPPORT,
    "reverse": SUPPORT,
    "limit": {"billing_manager"},
    "park": SUPPORT,
    "release": SUPPORT,
    "verify": {"billing_manager", "auditor"},
}
GROUPS = SUPPORT | {"billing_viewer", "price_publisher", "recon_analyst", "auditor"}


@pytest.fixture
def team():
    return a_customer(paid="10")


@pytest.fixture
def support():
    return Desk("billing_support")


@pytest.fixture
def manager():
    return Desk("billing_manager")


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_each_group_has_its_dialogs_and_no_other(team, group):
    desk = Desk(group)
    page = desk.read(f"customer/{team.pk}/change/")
    for name, groups in MAY.items():
        path = f"customer/{team.pk}/dialog/{name}/"
        assert (f"/admin/billing/{path}" in page) == (group in groups)
        assert desk.get(path).status_code == (200 if group in groups else 403)
        form = {"token": str(ids.new()), "reason": "r", "amount_usd": "1", "confirm": "1"}
        if group not in groups:
            assert desk.post(path, **form).status_code == 403
    assert money_of(team) == (10, 0, 0)
    assert not BillingAudit.objects.exists()


def test_a_credit_is_shown_before_it_is_given(team, support):
    path = f"customer/{team.pk}/dialog/credit/"
    form = {
        "token": hidden(support.read(path), "token"),
        "amount_usd": "7.5",
        "reason": "Outage of Friday",
        "ticket": "T-1",
    }
    preview = support.post(path, **form, preview="1").content.decode()
    assert "10.000000000000" in preview
    assert "17.500000000000" in preview
    assert "second person" not in preview
    assert money_of(team) == (10, 0, 0)
    for _ in range(2):  # the button was pressed twice
        assert support.post(path, **form, confirm="1").status_code == 302
    assert money_of(team) == (usd("17.5"), 0, 0)
    txn = LedgerTxn.objects.get(kind="adjustment")
    assert (txn.actor_id, txn.reason, txn.links) == (
        support.user.pk,
        "Outage of Friday",
        {"ticket": "T-1"},
    )
    entry = BillingAudit.objects.get()
    assert (entry.action, entry.actor_id, entry.details["amount_usd"]) == (
        "wallet.adjusted",
        support.user.pk,
        "7.500000000000",
    )


def test_anothers_form_is_not_mine(team, support, manager):
    token = str(ids.new())
    support.dialog(team, "credit", token=token, amount_usd="1")
    answer = manager.dialog(team, "credit", token=token, amount_usd="1")
    assert "sent by somebody else" in answer.content.decode()
    assert money_of(team) == (11, 0, 0)


@pytest.mark.parametrize(
    "fields", [{"amount_usd": "1000001"}, {"amount_usd": "-1"}, {"reason": ""}]
)
def test_a_form_with_faults_does_nothing(team, support, fields):
    answer = support.dialog(team, "credit", **({"amount_usd": "1"} | fields))
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert money_of(team) == (10, 0, 0)


def test_much_credit_waits_for_a_second_person(team, support, manager):
    path = f"customer/{team.pk}/dialog/credit/"
    form = {"token": str(ids.new()), "amount_usd": "100.01", "reason": "r"}
    assert "It is more than 100 USD." in support.post(path, **form).content.decode()
    request_id = asked(support.post(path, **form, confirm="1"))
    assert money_of(team) == (10, 0, 0)
    own = support.read(f"approvalrequest/{request_id}/change/")
    assert "another person approves it" in own
    assert hidden(own, "payload_hash") == ""
    manager.approve(request_id)
    connection.check_constraints()
    assert money_of(team) == (usd("110.01"), 0, 0)
    assert ApprovalRequest.objects.get().approver_id == manager.user.pk


def test_a_superuser_does_not_approve_their_own_over_http(team):
    root = Desk(is_superuser=True)
    request_id = asked(root.dialog(team, "credit", amount_usd="5000"))
    seen = bytes(ApprovalRequest.objects.get().payload_hash).hex()
    path = f"approvalrequest/{request_id}/approve/"
    answer = root.client.post(
        f"/admin/billing/{path}", {"payload_hash": seen, "password": PASSWORD}, follow=True
    )
    assert "Nobody approves what they asked for themselves" in answer.content.decode()
    assert (ApprovalRequest.objects.get().state, money_of(team)) == ("open", (10, 0, 0))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "wrong password"}, "password"),
        ({"payload_hash": "0" * 64}, "not the one that was shown"),
    ],
)
def test_approving_takes_the_password_and_what_was_seen(team, support, manager, fields, said):
    request_id = asked(support.dialog(team, "debit", amount_usd="1"))
    manager.approve(request_id, **fields)
    page = manager.read(f"approvalrequest/{request_id}/change/")
    assert said in page
    assert (ApprovalRequest.objects.get().state, money_of(team)) == ("open", (10, 0, 0))


@pytest.mark.parametrize("group", ["billing_support", "billing_viewer", "auditor"])
def test_whoever_may_not_approve_has_no_button_and_no_way(team, support, group):
    request_id = asked(support.dialog(team, "debit", amount_usd="1"))
    other = Desk(group)
    assert "Approve" not in other.read(f"approvalrequest/{request_id}/change/").split("<main")[-1]
    seen = bytes(ApprovalRequest.objects.get().payload_hash).hex()
    other.post(
        f"approvalrequest/{request_id}/approve/",
        payload_hash=seen,
        password=PASSWORD,
    )
    other.post(f"approvalrequest/{request_id}/reject/", note="no")
    assert (ApprovalRequest.objects.get().state, money_of(team)) == ("open", (10, 0, 0))


def test_a_debit_always_takes_two(team, support, manager):
    request_id = asked(support.dialog(team, "debit", amount_usd="0.01"))
    manager.approve(request_id)
    connection.check_constraints()
    assert money_of(team) == (usd("9.99"), 0, 0)


def test_a_request_is_refused_with_a_note(team, support, manager):
    request_id = asked(support.dialog(team, "debit", amount_usd="1"))
    manager.post(f"approvalrequest/{request_id}/reject/", note="Not agreed")
    row = ApprovalRequest.objects.get()
    assert (row.state, row.decision_note, row.approver_id) == (
        "rejected",
        "Not agreed",
        manager.user.pk,
    )


def test_promotional_credit_ends_when_it_says(team, support):
    support.dialog(team, "promo", amount_usd="3", expires_at="2090-01-31 00:00")
    assert money_of(team) == (10, 3, 0)
    lot = LedgerTxn.objects.get(kind="promo").lots.get()
    assert (lot.kind, lot.expires_at) == ("promo", datetime(2090, 1, 31, tzinfo=UTC))


def test_much_promotional_credit_takes_two(team, support, manager):
    request_id = asked(support.dialog(team, "promo", amount_usd="101"))
    manager.approve(request_id)
    connection.check_constraints()
    assert money_of(team) == (10, 101, 0)


def test_a_limit_always_takes_two(team, manager):
    other = Desk("billing_manager")
    stale = asked(manager.dialog(team, "limit", limit_usd="50"))
    request_id = asked(manager.dialog(team, "limit", limit_usd="20"))
    assert Customer.objects.get(pk=team.pk).postpaid_limit == 0
    other.approve(request_id)
    connection.check_constraints()
    assert Customer.objects.get(pk=team.pk).postpaid_limit == 20
    other.approve(stale)  # it was asked for when the limit was another one
    assert Customer.objects.get(pk=team.pk).postpaid_limit == 20
    assert "already" in manager.dialog(team, "limit", limit_usd="20").content.decode()


def test_a_customer_is_parked_and_released(team, support):
    support.dialog(team, "park")
    assert Customer.objects.get(pk=team.pk).status == "parked"
    assert "It is so already" in support.dialog(team, "park").content.decode()
    support.dialog(team, "release")
    assert Customer.objects.get(pk=team.pk).status == "active"
    assert list(BillingAudit.objects.order_by("seq").values_list("action", flat=True)) == [
        "customer.parked",
        "customer.released",
    ]


def test_a_transaction_is_reversed_by_two(team, support, manager):
    txn = give(team, usd("4"))
    request_id = asked(support.dialog(team, "reverse", txn=str(txn.pk)))
    assert money_of(team) == (14, 0, 0)
    manager.approve(request_id)
    connection.check_constraints()
    assert money_of(team) == (10, 0, 0)
    other = a_customer(paid="1")
    foreign = LedgerTxn.objects.get(entries__account__customer=other.pk)
    answer = support.dialog(team, "reverse", txn=str(foreign.pk))
    assert "no transaction of this customer" in answer.content.decode()


def test_all_money_is_verified_by_a_worker(team, manager):
    manager.dialog(team, "verify")
    fact = Fact.objects.get(topic="verification.requested")
    tasks.verify_money(fact.payload)
    assert BillingAudit.objects.get(action="money.verified").details == {"broken": 0, "rows": ""}
    assert "it adds up" in manager.read(f"customer/{team.pk}/change/")
    with connection.cursor() as cursor:
        connection.check_constraints()
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE billing_ledger_accounts SET held = 7 WHERE kind = 'wallet'")
        cursor.execute("SET LOCAL session_replication_role = origin")
    tasks.verify_money(fact.payload)
    page = manager.read(f"customer/{team.pk}/change/")
    assert "1 rows are broken" in page
    assert f"customer {team.pk}: held 7" in page


def test_requests_that_waited_too_long_are_closed(team, support):
    asked(support.dialog(team, "debit", amount_usd="1"))
    tasks.expire_approvals()
    assert ApprovalRequest.objects.get().state == "open"


def test_a_refund_of_an_unpaid_top_up_is_refused(team, support):
    top_up = TopUp.objects.filter(customer=team.pk).get()
    answer = support.dialog(
        team, "refund", top_up=str(top_up.pk), amount_usd="1", cause="duplicate"
    )
    assert "No more than what was paid" in answer.content.decode()
    strange = support.dialog(
        team, "refund", top_up=str(ids.new()), amount_usd="1", cause="duplicate"
    )
    assert "no top-up of this customer" in strange.content.decode()
    assert not StripeOutbox.objects.exists()


def an_event():
    return StripeInbox.objects.create(
        event_id="evt_1",
        type="refund.failed",
        created=clock.now(),
        livemode=False,
        body={},
        state="failed",
        error="payment_mismatch",
    )


def replayed(desk, event):
    return desk.client.post(
        "/admin/billing/stripeinbox/",
        {"action": "replay", "_selected_action": [str(event.pk)]},
        follow=True,
    ).content.decode()


def test_a_failed_webhook_is_applied_again(support):
    event = an_event()
    assert "applied in a moment" in replayed(support, event)
    event.refresh_from_db()
    assert (event.state, event.error) == ("received", "")
    assert Fact.objects.filter(topic="stripe.received").count() == 1
    assert BillingAudit.objects.get().action == "webhook.replayed"


def test_whoever_may_only_look_replays_nothing():
    event = an_event()
    assert "may not replay" in replayed(Desk("billing_viewer"), event)
    event.refresh_from_db()
    assert event.state == "failed"
    assert not Fact.objects.filter(topic="stripe.received").exists()
