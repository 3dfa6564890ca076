"""A call corrected in the console: new facts, shown before and after, by two persons where due."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from billing.errors import SelfApproval
from billing.models import (
    ApprovalRequest,
    BillingAudit,
    HandMove,
    LedgerTxn,
    UsageCorrection,
    UsageEvent,
)
from billing.services import (
    approvals,
    correction_reviews,
    corrections,
    ledger,
    usage,
    verification,
)
from billing.services.adjustments import Grounds
from billing.services.correction_facts import Facts, change_to, standing
from billing.services.corrections import Change
from billing.types import ApprovalKind, BillingMode, CorrectionReason, UnitClass
from ideplatform.kit import ids
from tests.billing.calls import SIMULATOR, a_call, publish, tokens, usd
from tests.billing.console.desk import Desk, asked, hidden
from tests.billing.console.people import an_operator, approved
from tests.billing.funds import a_customer, money_of

pytestmark = pytest.mark.django_db
WHY = Grounds(reason="The vendor's bill", ticket="T-9")


@pytest.fixture
def team():
    publish(SIMULATOR)
    return a_customer(paid="200")


@pytest.fixture
def desk():
    return Desk("billing_support")


def a_settled(team, **facts) -> UsageEvent:
    """A call of 0.0014 USD: 1,000 tokens in at 1 USD a million, 200 out at 2."""
    return UsageEvent.objects.get(pk=usage.settle(a_call(team, **facts)).event_id)


def a_dear_one(team) -> UsageEvent:
    """A call of 150 USD."""
    return a_settled(team, tokens=tokens(input=150_000_000))


def send(desk, event, *, step="confirm", **fields):
    path = f"usageevent/{event.pk}/correct/"
    form = {"token": hidden(desk.read(path), "token"), "reason": "The vendor's bill"}
    return desk.post(path, **(form | {"correction": "late_report", step: "1"} | fields))


def committed():
    connection.check_constraints()
    assert verification.breaches() == []


def test_one_person_gives_a_little_back(team, desk):
    event = a_settled(team)
    page = send(desk, event, step="preview", billed_cost="0.001").content.decode()
    assert "0.001400000000" in page
    assert "<b>0.001000000000</b>" in page
    assert "A second person" not in page
    assert not UsageCorrection.objects.exists()
    answer = send(desk, event, billed_cost="0.001", ticket="T-9")
    assert answer["Location"] == f"/admin/billing/usageevent/{event.pk}/change/"
    row = UsageCorrection.objects.get()
    assert (row.delta_billed_cost, row.delta_estimated_cost) == (usd("-0.0004"), 0)
    assert (row.reason, row.approved_by_id) == ("late_report", desk.user.pk)
    assert money_of(team) == (usd("199.999"), 0, 0)
    entry = BillingAudit.objects.get(action="usage.corrected")
    assert (entry.actor_id, entry.customer_id) == (desk.user.pk, team.pk)
    assert (entry.details["event_id"], entry.details["ticket"]) == (str(event.pk), "T-9")
    assert "late_report" in desk.read(f"usageevent/{event.pk}/change/")
    committed()
    assert HandMove.objects.get(pk=row.pk).amount == usd("0.0004")


def test_new_counts_are_priced_as_the_call_was(team, desk):
    event = a_settled(team)
    send(desk, event, input="500", output="200")
    row = UsageCorrection.objects.get()
    assert row.delta_quantities == {"input": -500}
    assert (row.delta_estimated_cost, row.delta_billed_cost) == (usd("-0.0005"), usd("-0.0005"))
    assert money_of(team) == (usd("199.9991"), 0, 0)
    found = standing(event)
    assert found.quantities == {UnitClass.INPUT: 500, UnitClass.OUTPUT: 200}
    assert (found.costs.billed_cost, found.costs.estimated_cost) == (usd("0.0009"), usd("0.0009"))
    committed()


def test_charging_more_is_asked_for_and_approved(team, desk):
    event = a_settled(team)
    page = send(desk, event, step="preview", billed_cost="0.002").content.decode()
    assert "It charges a customer more." in page
    request_id = asked(send(desk, event, billed_cost="0.002"))
    assert money_of(team) == (usd("199.9986"), 0, 0)
    manager = Desk("billing_manager")
    manager.approve(request_id)
    row = UsageCorrection.objects.get()
    assert (row.delta_billed_cost, row.created_by_id, row.approved_by_id) == (
        usd("0.0006"),
        desk.user.pk,
        manager.user.pk,
    )
    assert money_of(team) == (usd("199.998"), 0, 0)
    assert [entry.action for entry in BillingAudit.objects.order_by("seq")] == [
        "approval.requested",
        "approval.applied",
    ]
    committed()


@pytest.mark.parametrize(("billed", "is_alone"), [("50", True), ("49.999999999999", False)])
def test_giving_back_takes_two_beyond_the_rule_s_amount(team, desk, billed, is_alone):
    event = a_dear_one(team)
    answer = send(desk, event, billed_cost=billed)
    assert ("approvalrequest" not in answer["Location"]) is is_alone
    assert UsageCorrection.objects.exists() is is_alone
    assert ApprovalRequest.objects.exists() is not is_alone
    assert money_of(team) == (usd("150") if is_alone else usd("50"), 0, 0)
    committed()


def test_our_own_cost_takes_two_beyond_what_one_decides_of_a_vendor_s_bill(team, desk):
    event = a_dear_one(team)
    send(desk, event, estimated_cost="200")
    assert UsageCorrection.objects.get().delta_estimated_cost == 50
    request_id = asked(send(desk, event, estimated_cost="90"))
    assert UsageCorrection.objects.count() == 1
    Desk("billing_manager").approve(request_id)
    assert corrections.effective(event).estimated_cost == 90
    assert ledger.total_of("provider_payable:openai_compatible") == 90
    assert money_of(team) == (50, 0, 0)
    committed()


def test_nobody_approves_their_own_correction(team):
    event, root = a_settled(team), an_operator(is_superuser=True)
    outcome = correction_reviews.ask(
        actor=root,
        event_id=event.pk,
        facts=Facts(quantities=standing(event).quantities, billed_cost=usd("1")),
        reason=CorrectionReason.PRICE_ERROR,
        grounds=WHY,
        token=ids.new(),
    )
    request = ApprovalRequest.objects.get(pk=outcome.target)
    with pytest.raises(SelfApproval), transaction.atomic():
        approvals.approve(
            actor=root,
            request_id=request.pk,
            payload_hash=approvals.digest(request),
        )
    assert not UsageCorrection.objects.exists()


def test_the_same_form_sent_twice_corrects_once(team, desk):
    event = a_settled(team)
    token = str(ids.new())
    sent = [send(desk, event, billed_cost="0.001", token=token) for _ in range(2)]
    assert sent[0]["Location"] == sent[1]["Location"]
    assert UsageCorrection.objects.count() == 1
    assert money_of(team) == (usd("199.999"), 0, 0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "these are the facts as they stand"),
        ({"billed_cost": "0.0014"}, "these are the facts as they stand"),
        ({"billed_cost": "-1"}, "greater than or equal to 0"),
        ({"input": "many"}, "Enter a whole number."),
        ({"reason": "", "billed_cost": "0"}, "This field is required."),
        ({"audio_input": "5"}, "These counts have no price"),
    ],
)
def test_what_makes_no_sense_is_said_and_changes_nothing(team, desk, fields, said):
    event = a_settled(team)
    for step in ("preview", "confirm"):
        assert said in send(desk, event, step=step, **fields).content.decode()
    assert not UsageCorrection.objects.exists()
    assert not ApprovalRequest.objects.exists()
    assert money_of(team) == (usd("199.9986"), 0, 0)


def test_an_own_key_s_call_is_never_billed(team, desk):
    event = a_settled(team, billing_mode=BillingMode.BYOK)
    request_id = asked(send(desk, event, billed_cost="1"))
    page = Desk("billing_manager")
    page.approve(request_id)
    assert "changes with approval only" in page.read(f"approvalrequest/{request_id}/change/")
    assert not UsageCorrection.objects.exists()
    send(desk, event, input="2000")
    row = UsageCorrection.objects.get()
    assert (row.delta_billed_cost, row.delta_estimated_cost) == (0, usd("0.001"))
    assert money_of(team) == (200, 0, 0)
    assert not LedgerTxn.objects.filter(kind="true_up").exists()


@pytest.mark.parametrize("group", ["billing_viewer", "price_publisher", "auditor"])
def test_others_look_at_calls_and_correct_none(team, group):
    event, other = a_settled(team), Desk(group)
    assert f"usageevent/{event.pk}/correct/" not in other.read(f"usageevent/{event.pk}/change/")
    path = f"usageevent/{event.pk}/correct/"
    assert other.get(path).status_code == 403
    form = {"token": str(ids.new()), "reason": "no", "correction": "goodwill", "confirm": "1"}
    assert other.post(path, billed_cost="0", **form).status_code == 403
    assert not UsageCorrection.objects.exists()


def test_a_call_that_is_not_there_is_404(desk):
    assert desk.get(f"usageevent/{ids.new()}/correct/").status_code == 404


def test_an_unpriced_call_is_priced_by_hand(team, desk):
    unknown = {"requested_model": "nobody-prices-it", "served_model": "nobody-prices-it"}
    event = a_settled(team, **unknown)
    assert event.estimated_cost is None
    send(desk, event, estimated_cost="0")
    assert corrections.effective(event).estimated_cost == 0
    assert UsageCorrection.objects.get().gives_price


def test_facts_and_changes_are_each_other_s_inverse(team):
    event = a_settled(team, tokens=tokens(input=1_000, cache_read=400, output=200))
    wanted = Facts(
        quantities={UnitClass.INPUT: 700, UnitClass.OUTPUT: 260, UnitClass.OUTPUT_REASONING: 40},
        estimated_cost=usd("0.5"),
        billed_cost=usd("0.25"),
    )
    change = change_to(standing(event), wanted)
    one, two = an_operator("billing_support"), an_operator("billing_manager")
    request = correction_reviews.request(
        actor=one,
        event_id=event.pk,
        change=change,
        reason=CorrectionReason.LATE_REPORT,
        grounds=WHY,
    )
    approvals.approve(
        actor=two,
        request_id=request.pk,
        payload_hash=approvals.digest(request),
    )
    found = standing(event)
    assert {name: count for name, count in found.quantities.items() if count} == wanted.quantities
    assert (found.costs.estimated_cost, found.costs.billed_cost) == (usd("0.5"), usd("0.25"))
    committed()


# --- the shell: whatever is written, the database has the last word


def cost_of(event, delta):
    return corrections.correct(
        event_id=event.pk,
        change=Change(estimated_cost=usd(delta)),
        reason=CorrectionReason.LATE_REPORT,
        key=f"shell:{ids.new()}",
        created_by_id=an_operator().user_id,
        approved_by_id=an_operator().user_id,
    )


def alone(event):
    cost_of(event, "-60")


def by_the_approval_of_another_call(event):
    approved(ApprovalKind.CORRECTION, event_id=str(ids.new()), estimated_cost="-60")
    cost_of(event, "-60")


def a_little_more_than_approved(event):
    approved(ApprovalKind.CORRECTION, event_id=str(event.pk), estimated_cost="-60")
    cost_of(event, "-60.000000000001")


@pytest.mark.parametrize(
    "bypass",
    [alone, by_the_approval_of_another_call, a_little_more_than_approved],
    ids=lambda one: one.__name__,
)
def test_the_shell_does_not_book_cost_alone(team, bypass):
    event = a_dear_one(team)
    connection.check_constraints()

    @transaction.atomic
    def shell():
        bypass(event)
        connection.check_constraints()

    with pytest.raises(IntegrityError, match="needs a second person"):
        shell()
    assert not UsageCorrection.objects.exists()
