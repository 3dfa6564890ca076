"""What people decide about differences, and the money that follows."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from accounts.types import Actor
from billing.errors import LineDecided, LineUnsettled, NothingToAdjust
from billing.models import (
    ApprovalRequest,
    LedgerTxn,
    ReconLine,
    UsageCorrection,
)
from billing.services import approvals, ledger, reconcile, verification
from billing.types import (
    BillingMode,
    TokenCount,
    TxnKind,
    UnitClass,
)
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import (
    Forbidden,
)
from tests.billing.funds import a_customer, money_of
from tests.billing.reconciling import (
    USD,
    acting,
    an_account,
    an_operator,
    compared,
    decide,
    execute,
    legs,
    lines,
    the_card,
    the_line,
    told,
    used,
)
from tests.factories import a_user, an_organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return an_account()


@transaction.atomic
def book_by_hand(actor: Actor, amount: Decimal) -> None:
    """As a shell would, up to the commit."""
    ledger.post(
        kind=TxnKind.TRUE_UP,
        key="by hand",
        legs=[
            ledger.Leg(kind="provider_cogs", amount_usd=-amount),
            ledger.Leg(kind="provider_payable:openai", amount_usd=amount),
        ],
        actor_id=actor.user_id,
    )
    execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_missed_usage_is_our_cost_and_no_customers(account):
    customer = a_customer(paid="10")
    used(customer)
    before = money_of(customer)
    run = compared(told(read_=1_500)).run
    line = decide(the_line(run), "accept", an_operator()).line
    assert (line.status, line.note) == ("accepted", "seen")
    assert legs(line.txn) == {"provider_cogs": USD("-0.5"), "provider_payable:openai": USD("0.5")}
    assert money_of(customer) == before
    assert lines(compared(told(read_=1_500, wrote=200)).run)["big input"][1] == "accepted"
    more = compared(told(read_=1_600)).run
    assert lines(more)["big input"] == ("missing_usage", "open")
    assert (the_line(more).explained_quantity, the_line(more).explained_cost) == (500, USD("0.5"))
    assert [str(one) for one in verification.breaches()] == []


def test_an_overcharge_is_credited_by_whoever_approves_it(account):
    customer = a_customer(paid="10")
    event = used(customer)
    run = compared(told(read_=600)).run
    assert lines(run)["big input"] == ("phantom_usage", "open")
    operator = an_operator()
    assert decide(the_line(run), "adjust", operator).line.status == "adjusted"
    assert money_of(customer) == (USD("9.2"), 0, 0)
    correction = UsageCorrection.objects.get(event_id=event.event_id)
    assert (correction.delta_billed_cost, correction.delta_quantities) == (
        USD("-0.4"),
        {"input": -400},
    )
    assert (correction.approved_by_id, correction.reason) == (operator.user_id, "late_report")
    assert ledger.total_of("provider_cogs") == USD("-0.8")
    assert compared(told(read_=600)).run.totals["open"] == 0
    assert [str(one) for one in verification.breaches()] == []


def test_estimates_are_the_first_to_be_wrong(account):
    customer = a_customer(paid="10")
    used(customer)
    guess = used(customer, accuracy="estimated", outcome="crash_recovered")
    run = compared(told(read_=2_300, wrote=400)).run
    line = the_line(run)
    assert (line.line_class, line.estimated_quantity) == ("missing_usage", 1_000)
    decide(line, "adjust", an_operator())
    correction = UsageCorrection.objects.get()
    assert (correction.event_id, correction.reason) == (guess.event_id, "estimate_trued_up")
    assert (correction.delta_estimated_cost, correction.delta_billed_cost) == (USD("0.3"), 0)
    assert money_of(customer)[0] == USD("7.6")
    assert ledger.total_of("provider_payable:openai") == USD("2.7")


def test_what_no_event_explains_cannot_be_adjusted(account):
    used()
    with pytest.raises(NothingToAdjust):
        decide(the_line(compared(told(read_=1_500)).run), "adjust", an_operator())
    assert UsageCorrection.objects.count() == 0


def test_a_line_that_may_still_change_is_not_settled(account):
    yesterday = database_now().date() - timedelta(days=1)
    used(day=yesterday)
    line = the_line(compared(told(yesterday, 900), yesterday).run)
    for action in ("accept", "adjust"):
        with pytest.raises(LineUnsettled):
            decide(line, action, an_operator())
    assert decide(line, "ignore", an_operator()).line.status == "ignored"


def test_a_line_is_decided_once(account):
    used()
    line = the_line(compared(told(read_=900)).run)
    decide(line, "ignore", an_operator())
    for action in ("accept", "ignore", "adjust", "dispute"):
        with pytest.raises(LineDecided):
            decide(line, action, an_operator())
    with pytest.raises(DatabaseError), transaction.atomic():
        ReconLine.objects.filter(pk=line.pk).update(status="open")
    with pytest.raises(DatabaseError), transaction.atomic():
        ReconLine.objects.filter(pk=line.pk).update(theirs_quantity=1_000)


def test_a_dispute_goes_on_through_later_reports_until_it_is_decided(account):
    used()
    line = the_line(compared(told(read_=900)).run)
    operator = an_operator()
    assert decide(line, "dispute", operator, "asked support").line.status == "disputed"
    follower = the_line(compared(told(read_=950)).run)
    assert (follower.status, follower.note) == ("disputed", "asked support")
    assert follower.decided_by_id == operator.user_id
    assert decide(follower, "accept", operator).line.status == "accepted"


def test_more_than_fifty_dollars_wait_for_a_second_person(account):
    customer = a_customer(paid="1000")
    used(customer, tokens=TokenCount({UnitClass.INPUT: 100_000}))
    line = the_line(compared(told(read_=40_000, wrote=0)).run)
    first, second = an_operator(), an_operator()
    waiting = decide(line, "adjust", first)
    assert (waiting.line.status, UsageCorrection.objects.count()) == ("open", 0)
    request = ApprovalRequest.objects.get(pk=waiting.approval_id)
    assert request.payload["amount_usd"] == "60.000000000000"
    digest = approvals.digest(request)
    with pytest.raises(Forbidden):
        approvals.approve(actor=first, request_id=request.pk, payload_hash=digest)
    approvals.approve(actor=second, request_id=request.pk, payload_hash=digest)
    line.refresh_from_db()
    assert (line.status, line.approval_id) == ("adjusted", request.pk)
    assert money_of(customer)[0] == USD("960")
    correction = UsageCorrection.objects.get()
    assert (correction.created_by_id, correction.approved_by_id) == (
        first.user_id,
        second.user_id,
    )


def test_a_large_cost_waits_too_and_a_later_report_ends_the_request(account):
    used()
    line = the_line(compared(told(read_=61_000)).run)
    request_id = decide(line, "accept", an_operator()).approval_id
    assert LedgerTxn.objects.filter(kind="true_up").count() == 0
    compared(told(read_=62_000))
    assert ApprovalRequest.objects.get(pk=request_id).state == "rejected"
    with pytest.raises(DatabaseError, match="second person"):
        book_by_hand(an_operator(), USD(51))


def test_with_the_customers_own_key_nothing_is_posted(account):
    owner = a_user()
    team = an_organization(owner)
    the_card(organization_id=team.pk, billing_mode=BillingMode.BYOK)
    used(team, billing_mode=BillingMode.BYOK)
    asked = compared(told(read_=1_500), actor=acting(owner))
    before = LedgerTxn.objects.count()
    line = decide(the_line(asked.run), "accept", an_operator()).line
    assert (line.status, line.txn, LedgerTxn.objects.count()) == ("accepted", None, before)


def test_what_nobody_priced_is_our_cost_or_gets_its_price(account):
    customer = a_customer(paid="10")
    used(customer, requested_model="odd", served_model="odd")
    run = compared(told(model="odd")).run
    assert set(lines(run).values()) == {("unpriced", "open")}
    decide(the_line(run), "adjust", an_operator())
    correction = UsageCorrection.objects.get()
    assert (correction.gives_price, correction.delta_estimated_cost) == (True, USD(1))
    accepted = decide(the_line(run, "output"), "accept", an_operator()).line
    assert legs(accepted.txn)["provider_payable:openai"] == USD("0.2")
    assert reconcile.compare_run(run.pk) == 0
    assert compared(told(model="odd", wrote=201)).run.lines.get(unit_class="input").status == (
        "auto_closed"
    )
    assert ledger.total_of("provider_payable:openai") == USD("1.2")
    assert money_of(customer) == (USD(10), 0, 0)
    assert [str(one) for one in verification.breaches()] == []


def test_a_credit_of_the_vendor_lowers_our_cost(account):
    used()
    pages = told()
    gift = b'{"amount": {"value": -0.25, "currency": "usd"}, "line_item": "Promo credit"}'
    costs = pages[1][1].replace(b'"results": [', b'"results": [' + gift + b", ")
    run = compared([pages[0], (pages[1][0], costs)]).run
    line = run.lines.get(line_class="credit_or_discount")
    decide(line, "accept", an_operator())
    line.refresh_from_db()
    assert legs(line.txn) == {
        "provider_cogs": USD("0.25"),
        "provider_payable:openai": USD("-0.25"),
    }
