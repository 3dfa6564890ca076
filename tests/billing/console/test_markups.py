"""Markups in the console: explained, asked for, approved by a second person, and no other way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from psycopg.types.range import Range

from billing.errors import MarkupConflict, MarkupJump, SelfApproval
from billing.models import ApprovalRequest, BillingAudit, MarkupRule
from billing.services import approvals, markup_rerating, markup_reviews, usage, verification
from billing.services.adjustments import Grounds
from billing.services.markup_reviews import Markup
from billing.types import ApprovalKind, MarkupKind
from ideplatform.kit import clock, ids
from ideplatform.kit.errors import Forbidden, NotFound
from tests.billing.calls import SIMULATOR, a_call, publish, usd
from tests.billing.console.desk import Desk, asked, hidden
from tests.billing.console.people import a_markup, an_operator, approved
from tests.billing.funds import a_customer

pytestmark = pytest.mark.django_db
PERCENT, PER_UNIT, PER_REQUEST = MarkupKind.PERCENT, MarkupKind.PER_UNIT, MarkupKind.PER_REQUEST
WHY = Grounds(reason="New terms", ticket="T-7")


@pytest.fixture
def team():
    publish(SIMULATOR)
    return a_customer(paid="10")


@pytest.fixture
def publisher():
    return Desk("price_publisher")


@pytest.fixture
def second():
    return Desk("price_publisher")


def form(value="20", **fields):
    typed = {"kind": "percent", "value": value, "priority": "0", "reason": "New terms"}
    return {"token": str(ids.new())} | typed | fields


def propose(desk, value="20", **fields):
    """The form from its preview to its last button."""
    return desk.post("markuprule/draft/", **(form(value, confirm="1") | fields))


def ask(actor, value="20", kind=PERCENT, *, starts_at=None, ends_at=None, accepts=False, **calls):
    return markup_reviews.ask_to_set(
        actor=actor,
        markup=Markup(kind=kind, value=usd(value), **calls),
        starts_at=starts_at,
        ends_at=ends_at,
        accepts_jump=accepts,
        grounds=WHY,
        token=ids.new(),
    )


def agree(actor, outcome):
    request = ApprovalRequest.objects.get(pk=outcome.target)
    done = approvals.approve(
        actor=actor, request_id=request.pk, payload_hash=approvals.digest(request)
    )
    connection.check_constraints()
    return done


def in_force():
    return list(
        MarkupRule.objects.filter(effective__contains=clock.now()).values_list("value", flat=True)
    )


def bill_now(team):
    now = clock.now()
    return usage.settle(a_call(team, occurred_at=now, completed_at=now)).billed_usd


def test_one_asks_another_approves_and_calls_cost_more(team, publisher, second):
    page = publisher.post("markuprule/draft/", **form("20", preview="1")).content.decode()
    assert "A change of markup always takes two." in page
    assert not ApprovalRequest.objects.exists()
    request_id = asked(propose(publisher))
    assert in_force() == []
    assert bill_now(team) == usd("0.0014")
    second.approve(request_id)
    connection.check_constraints()
    rule = MarkupRule.objects.get()
    request = ApprovalRequest.objects.get(pk=request_id)
    assert (rule.kind, rule.value, rule.customer_id) == ("percent", 20, None)
    assert (rule.created_by_id, rule.note) == (publisher.user.pk, "New terms")
    assert (rule.effective.lower, rule.effective.upper) == (request.decided_at, None)
    assert bill_now(team) == usd("0.0014") * usd("1.2")
    assert list(BillingAudit.objects.order_by("seq").values_list("action", "actor_id")) == [
        ("approval.requested", publisher.user.pk),
        ("approval.applied", second.user.pk),
    ]
    assert verification.breaches() == []


def test_another_value_ends_the_rule_it_replaces(team):
    one, two = an_operator("price_publisher"), an_operator("price_publisher")
    agree(two, ask(one, "20"))
    agree(two, ask(one, "25"))
    old, new = MarkupRule.objects.order_by("created_at")
    assert (old.value, new.value) == (20, 25)
    assert old.effective.upper == new.effective.lower
    assert in_force() == [25]
    assert bill_now(team) == usd("0.0014") * usd("1.25")


def test_a_markup_of_one_customer_is_theirs_alone(team):
    one, two = an_operator("price_publisher"), an_operator("price_publisher")
    done = agree(two, ask(one, "40", customer_id=team.pk))
    assert done.customer_id == team.pk
    assert bill_now(team) == usd("0.0014") * usd("1.4")
    assert bill_now(a_customer(paid="1")) == usd("0.0014")
    with pytest.raises(NotFound):
        ask(one, "40", customer_id=ids.new())


def test_a_markup_begins_and_ends_when_it_was_asked_to(team):
    one, two = an_operator("price_publisher"), an_operator("price_publisher")
    start = clock.now() + timedelta(days=1)
    agree(two, ask(one, "20", starts_at=start, ends_at=start + timedelta(days=9)))
    rule = MarkupRule.objects.get()
    assert (rule.effective.lower, rule.effective.upper) == (start, start + timedelta(days=9))
    assert bill_now(team) == usd("0.0014")
    with pytest.raises(MarkupConflict, match="planned already"):
        ask(one, "30", starts_at=start + timedelta(days=2))
    with pytest.raises(MarkupConflict, match="never in the past"):
        ask(one, "30", priority=1, starts_at=clock.now() - timedelta(minutes=1))
    with pytest.raises(MarkupConflict, match="after it begins"):
        ask(one, "30", priority=1, starts_at=start, ends_at=start)
    assert ApprovalRequest.objects.count() == 1


def test_a_rule_ends_by_two_persons_too(team, publisher, second):
    rule = a_markup(PERCENT, "20", effective=Range(clock.now() - timedelta(days=1), None))
    path = f"markuprule/{rule.pk}/change/"
    token = hidden(publisher.read(path), "token")
    request_id = asked(publisher.post(path, token=token, reason="Enough"))
    assert in_force() == [20]
    second.approve(request_id)
    connection.check_constraints()
    assert in_force() == []
    rule.refresh_from_db()
    assert rule.effective.upper == ApprovalRequest.objects.get(pk=request_id).decided_at
    assert hidden(publisher.read(path), "token") == ""
    ended = publisher.post(path, token=str(ids.new()), reason="Again").content.decode()
    assert "The rule has ended already." in ended


def test_two_changes_of_one_rule_do_not_both_happen(team):
    one, two = an_operator("price_publisher"), an_operator("price_publisher")
    agree(two, ask(one, "20"))
    first, other = ask(one, "25"), ask(one, "30")
    agree(two, first)
    with pytest.raises(MarkupConflict), transaction.atomic():
        agree(two, other)
    assert ApprovalRequest.objects.get(pk=other.target).state == "open"
    assert in_force() == [25]


def test_the_same_form_sent_twice_asks_once(publisher):
    token = str(ids.new())
    assert asked(propose(publisher, token=token)) == asked(propose(publisher, token=token))
    assert ApprovalRequest.objects.count() == 1


def test_nobody_approves_their_own_markup_not_even_a_superuser(team):
    root = an_operator(is_superuser=True)
    outcome = ask(root)
    with pytest.raises(SelfApproval):
        agree(root, outcome)
    assert not MarkupRule.objects.exists()


@pytest.mark.parametrize("group", ["billing_viewer", "billing_manager", "billing_support"])
def test_others_look_at_markups_and_change_none(team, group):
    rule = a_markup(PERCENT, "20", effective=Range(clock.now() - timedelta(days=1), None))
    before = ApprovalRequest.objects.count()
    other = Desk(group)
    assert "percent" in other.read("markuprule/")
    assert "20.00" in other.read(f"markuprule/{rule.pk}/change/")
    assert other.get("markuprule/draft/").status_code == 403
    assert propose(other).status_code == 403
    path = f"markuprule/{rule.pk}/change/"
    assert other.post(path, token=str(ids.new()), reason="no").status_code == 403
    outcome = ask(an_operator("price_publisher"), "25")
    with pytest.raises(Forbidden):
        agree(an_operator(group), outcome)
    assert (ApprovalRequest.objects.count(), in_force()) == (before + 1, [20])


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("percent", "2000", "would be billed 21 USD. If 20 % is meant, enter 20."),
        ("percent", "20000000", "would be billed 200001 USD"),
        ("percent", "-101", "a whole discount is -100."),
        ("per_unit", "0.5", "If 0.5 USD is the fee of a million tokens, enter 0.0000005."),
        ("per_unit", "0.0003", "300 USD per million tokens"),
        ("per_unit", "0.00005", "500 times off the present 0.0000001 USD"),
        ("per_request", "11", "11 USD for each call, however short."),
    ],
)
def test_a_slip_is_blocked_and_explained(team, publisher, kind, value, said):
    a_markup(PER_UNIT, "0.0000001", effective=Range(clock.now() - timedelta(days=1), None))
    before = ApprovalRequest.objects.count()
    shown = publisher.post("markuprule/draft/", **form(value, kind=kind, preview="1"))
    page = shown.content.decode()
    assert said in page
    assert "This cannot be asked for." in page
    assert 'name="confirm"' not in page
    refused = propose(publisher, value, kind=kind, accepts_jump="on").content.decode()
    assert said in refused
    assert ApprovalRequest.objects.count() == before


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (PERCENT, "0.2", r"If 20 % is meant, enter 20\."),
        (PERCENT, "51", r"billed 1\.51 USD\."),
        (PERCENT, "-10", "less than the vendor charges"),
        (PER_UNIT, "0.000021", "21 USD per million tokens"),
        (PER_REQUEST, "1.5", "1.5 USD for each call"),
    ],
)
def test_what_is_odd_has_to_be_meant(team, kind, value, said):
    one, two = an_operator("price_publisher"), an_operator("price_publisher")
    with pytest.raises(MarkupJump, match=said):
        ask(one, value, kind)
    assert not ApprovalRequest.objects.exists()
    agree(two, ask(one, value, kind, accepts=True))
    assert in_force() == [usd(value)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(PERCENT, "0"), (PERCENT, "50"), (PER_UNIT, "0.00002"), (PER_REQUEST, "1")],
)
def test_what_is_usual_needs_no_word(kind, value):
    assert markup_reviews.judge(Markup(kind=kind, value=usd(value))).warning == ""


def test_a_fee_below_zero_is_no_fee(publisher):
    page = publisher.post("markuprule/draft/", **form("-1", kind="per_request", confirm="1"))
    assert "A fee is 0 or more." in page.content.decode()
    assert not ApprovalRequest.objects.exists()


def test_last_week_s_bills_are_shown_under_the_new_markup(team, publisher):
    """Two calls of 0.0014 USD and 1,200 tokens; one of a customer of their own terms."""
    other = a_customer(paid="1")
    always = Range(clock.now() - timedelta(days=30), None)
    a_markup(PERCENT, "10", customer_id=other.pk, effective=always)
    for payer, days in ((team, 0), (team, 6), (team, 8), (other, 1)):
        moment = clock.now() - timedelta(days=days, minutes=1)
        usage.settle(a_call(payer, occurred_at=moment, completed_at=moment))
    wanted = Markup(kind=PERCENT, value=usd("20"))
    bills = markup_rerating.rerate(wanted, replaces=None)
    assert bills.calls == 3
    assert bills.now_usd == 2 * usd("0.0014") + usd("0.0014") * usd("1.1")
    assert bills.then_usd == 2 * usd("0.0014") * usd("1.2") + usd("0.0014") * usd("1.1")
    assert bills.delta_usd == usd("0.00056")
    fee = markup_rerating.rerate(
        Markup(kind=PER_REQUEST, value=usd("0.01"), customer_id=team.pk), replaces=None
    )
    assert (fee.calls, fee.delta_usd) == (2, usd("0.02"))
    page = publisher.post("markuprule/draft/", **form("20", preview="1")).content.decode()
    assert "3 calls of the last 7 days" in page
    assert f"<b>{bills.then_usd.normalize():f}</b>" in page


# --- the shell: whatever is written, the database has the last word


def a_rule(value="20", **columns):
    whole = {"kind": PERCENT, "effective": Range(clock.now(), None)} | columns
    return MarkupRule.objects.create(value=usd(value), **whole)


def facts(value="20", **changed):
    whole = {"kind": "percent", "priority": 0, "provider_type": "", "model_glob": ""}
    return whole | {"value": value} | changed


def alone(_team):
    a_rule()


def of_another_value(_team):
    request = approved(ApprovalKind.MARKUP, **facts())
    a_rule("20.000000000000001", effective=Range(request.decided_at, None))


def of_another_customer(team):
    request = approved(ApprovalKind.MARKUP, a_customer().pk, **facts())
    a_rule(customer_id=team.pk, effective=Range(request.decided_at, None))


def from_another_moment(_team):
    approved(ApprovalKind.MARKUP, **facts())
    a_rule(effective=Range(clock.now() - timedelta(days=9), None))


def of_other_calls(_team):
    request = approved(ApprovalKind.MARKUP, **facts(model_glob="sim-*"))
    a_rule(effective=Range(request.decided_at, None))


def of_prices(_team):
    request = approved(ApprovalKind.PRICES, **facts())
    a_rule(effective=Range(request.decided_at, None))


def ended_alone(_team):
    rule = MarkupRule.objects.get()
    rule.effective = Range(rule.effective.lower, clock.now() + timedelta(hours=1))
    rule.save()


def ended_instead_of_another(_team):
    request = approved(ApprovalKind.MARKUP, ended_id=str(ids.new()), value=None)
    rule = MarkupRule.objects.get()
    rule.effective = Range(rule.effective.lower, request.decided_at)
    rule.save()


BYPASSES = (
    alone, of_another_value, of_another_customer, from_another_moment, of_other_calls, of_prices,
    ended_alone, ended_instead_of_another,
)  # fmt: skip


@transaction.atomic
def committed(bypass, team):
    bypass(team)
    connection.check_constraints()


@pytest.mark.parametrize("bypass", BYPASSES, ids=lambda one: one.__name__)
def test_the_shell_does_not_mark_up_alone(team, bypass):
    a_markup(PERCENT, "7", priority=9, effective=Range(clock.now() - timedelta(days=1), None))
    connection.check_constraints()
    before = list(MarkupRule.objects.values())
    with pytest.raises(IntegrityError, match="needs a second person"):
        committed(bypass, team)
    assert list(MarkupRule.objects.values()) == before
