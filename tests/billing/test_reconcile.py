"""Comparisons of vendors' reports with our books, and what people decide about them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from accounts.services import sessions
from accounts.types import Actor
from billing.errors import LineDecided, LineUnsettled, NothingToAdjust, ReportMalformed
from billing.models import (
    ApprovalRequest,
    LedgerEntry,
    LedgerTxn,
    ProviderReportPage,
    ReconLine,
    ReconRun,
    UsageCorrection,
)
from billing.services import approvals, cards, ledger, reconcile, usage, verification
from billing.services.reconcile import Asking
from billing.services.reconcile.compared import AccountReport
from billing.types import (
    BillingMode,
    LineAction,
    ReconSource,
    ReportKind,
    TokenCount,
    TxnKind,
    UnitClass,
)
from billing.vendor_reports import Report, read
from ideplatform.kit import ids
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import Forbidden, IdempotencyKeyReused, InvalidInput, NotFound
from tests.billing.calls import PROVIDER, a_call, a_list, publish
from tests.billing.funds import a_customer, money_of
from tests.billing.reports import seconds
from tests.factories import a_user, an_organization
from tests.providers.builders import the_platform

pytestmark = pytest.mark.django_db
DAY = date(2026, 10, 5)
NEXT = DAY + timedelta(days=1)
USD = Decimal


@pytest.fixture
def account():
    """The platform's account at OpenAI; `big` costs 0.001 USD per token, each way."""
    publish(a_list(big="0.001"))
    the_card()
    return PROVIDER


def the_card(**values: Any) -> None:
    given: dict[str, Any] = {
        "provider_id": PROVIDER,
        "organization_id": the_platform().pk,
        "owner_id": None,
        "provider_type": "openai",
        "name": "OpenAI",
        "billing_mode": BillingMode.PLATFORM,
    }
    cards.write(**given | values)


def an_operator(group: str = "billing_manager") -> Actor:
    user = a_user(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return acting(user)


def acting(user: User) -> Actor:
    return Actor(user_id=user.pk, session_id=sessions.begin(user=user).pk)


def used(organization=None, day: date = DAY, **values: Any):
    """A settled call of 1,000 tokens in, 200 out: 1.2 USD."""
    given: dict[str, Any] = {
        "provider_type": "openai",
        "requested_model": "big",
        "served_model": "big",
        "occurred_at": datetime.combine(day, time(12), tzinfo=UTC),
    }
    return usage.settle(a_call(organization or a_customer(paid="10000"), **given | values))


def told(
    day: date = DAY,
    read_: int = 1_000,
    wrote: int = 200,
    *,
    cost: str | None = None,
    model: str = "big",
    key: str | None = None,
) -> list[tuple[ReportKind, bytes]]:
    """OpenAI's report of a day; tokens cost their list price unless a cost of input is given."""
    bucket = {"start_time": seconds(day), "end_time": seconds(day + timedelta(days=1))}
    counted = {"input_tokens": read_, "output_tokens": wrote, "model": model, "api_key_id": key}
    amounts = {
        "input": cost or f"{read_ * USD('0.001'):f}",
        "output": f"{wrote * USD('0.001'):f}",
    }
    charges = [
        {"amount": {"value": f"@{amount}@", "currency": "usd"}, "line_item": f"{model}, {name}"}
        for name, amount in amounts.items()
    ]
    costs = json.dumps({"data": [bucket | {"results": charges}]})
    return [
        (ReportKind.OPENAI_USAGE, json.dumps({"data": [bucket | {"results": [counted]}]}).encode()),
        (ReportKind.OPENAI_COSTS, costs.replace('"@', "").replace('@"', "").encode()),
    ]


def compared(pages, day: date = DAY, days: int = 1, actor: Actor | None = None, **values: Any):
    asking = Asking(
        provider_id=PROVIDER,
        starts_on=day,
        ends_on=day + timedelta(days=days),
        source=ReconSource.UPLOAD,
        pages=tuple(pages),
        **values,
    )
    (asked,) = reconcile.request(asking=asking, actor=actor)
    return asked


def lines(run: ReconRun) -> dict[str, tuple[str, str]]:
    """Class and status by model and class of tokens."""
    rows = run.lines.order_by("pk")
    return {f"{one.model} {one.unit_class}".strip(): (one.line_class, one.status) for one in rows}


def the_line(run: ReconRun, unit: str = "input") -> ReconLine:
    return run.lines.get(unit_class=unit)


def legs(txn: LedgerTxn | None) -> dict[str, Decimal]:
    return {e.account.kind: e.amount for e in LedgerEntry.objects.filter(txn=txn)}


def decide(line: ReconLine, action: str, actor: Actor, note: str = "seen"):
    return reconcile.decide(
        actor=actor, run_id=line.run_id, line_id=line.pk, action=LineAction(action), note=note
    )


@transaction.atomic
def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


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


def test_a_report_that_agrees_opens_nothing(account):
    used()
    asked = compared(told())
    assert asked.is_new
    assert (asked.run.state, asked.run.totals["open"]) == ("done", 0)
    assert asked.run.totals["ours_cost"] == asked.run.totals["theirs_cost"] == "1.200000000000"
    closed = ("match", "auto_closed")
    assert lines(asked.run) == {"big input": closed, "big output": closed}


def test_the_same_report_again_is_the_same_run_and_changes_nothing(account):
    used()
    first = compared(told(read_=900))
    again = compared([*told(read_=900)[::-1]])
    assert (again.is_new, again.run) == (False, first.run)
    assert ReconLine.objects.count() == 2
    assert ProviderReportPage.objects.count() == 2
    assert reconcile.compare_run(first.run.pk) == 0
    assert ReconRun.objects.get(repeats=first.run).state == "repeated"


def test_a_day_is_compared_without_a_trace(account):
    used()
    report = AccountReport(
        provider_id=PROVIDER,
        provider_type="openai",
        account_ref="",
        content=read(told(read_=1_001)),
    )
    found = reconcile.compare(DAY, report)
    assert [(one.cell.unit_class, one.line_class.value) for one in found] == [
        ("input", "missing_usage"),
        ("output", "match"),
    ]
    assert reconcile.compare(NEXT, report) == []
    assert ReconLine.objects.count() == 0


def test_only_days_that_are_complete_are_judged_and_the_others_again_later(account):
    today = database_now().date()
    yesterday, before = today - timedelta(days=1), today - timedelta(days=2)
    for day in (yesterday, before):
        used(day=day)
    assert lines(compared(told(yesterday, 900), yesterday).run)["big input"] == ("late", "open")
    found = lines(compared(told(before, 900), before).run)
    assert found["big input"] == ("phantom_usage", "open")


def test_usage_that_came_late_ends_the_question(account):
    yesterday = database_now().date() - timedelta(days=1)
    customer = a_customer(paid="10000")
    used(customer, yesterday)
    run = compared(told(yesterday, 2_000, 400), yesterday).run
    assert the_line(run).line_class == "late"
    used(customer, yesterday)
    again = compared(told(yesterday, 2_000, 400), yesterday)
    assert (again.run, again.is_new) == (run, False)
    old, new = run.lines.filter(unit_class="input").order_by("pk")
    assert (old.status, old.note) == ("auto_closed", "Replaced by a later comparison.")
    assert (new.line_class, new.status, new.follows) == ("match", "auto_closed", old)


def test_a_newer_report_replaces_the_open_lines_of_the_older(account):
    used()
    old = the_line(compared(told(read_=900)).run)
    new = the_line(compared(told(read_=950)).run)
    old.refresh_from_db()
    assert (old.status, new.status, new.follows) == ("auto_closed", "open", old)
    last = compared(told()).run
    assert lines(last)["big input"] == ("match", "auto_closed")
    new.refresh_from_db()
    assert new.status == "auto_closed"


def test_skew_over_the_edge_of_the_window_closes_both_sides(account):
    customer = a_customer(paid="10000")
    used(customer, DAY)
    used(customer, NEXT)
    first = compared(told(DAY, 900, 180), DAY).run
    assert lines(first)["big input"] == ("phantom_usage", "open")
    second = compared(told(NEXT, 1_100, 220), NEXT).run
    assert lines(second)["big input"] == ("boundary_skew", "auto_closed")
    assert the_line(first).status == "auto_closed"


def test_a_dry_run_shows_its_lines_and_nobody_decides_them(account):
    used()
    open_line = the_line(compared(told(read_=900)).run)
    dry = compared(told(read_=800), is_dry_run=True).run
    open_line.refresh_from_db()
    assert open_line.status == "open"
    with pytest.raises(LineDecided):
        decide(the_line(dry), "ignore", an_operator())
    with pytest.raises(DatabaseError), transaction.atomic():
        dry.lines.update(status="auto_closed")
    assert compared(told(read_=800)).is_new


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


def test_other_keys_of_the_account_are_foreign_and_stay_ignored(account):
    the_card(external_account_ref="key_ours")
    used()
    mine, others = told(key="key_ours"), told(read_=7, wrote=0, cost="0.007", key="key_other")
    run = compared([*mine, others[0]]).run
    line = run.lines.get(key_ref="key_other")
    assert (line.line_class, line.status, line.theirs_quantity) == ("foreign_traffic", "open", 7)
    decide(line, "ignore", an_operator())
    assert compared([*mine, others[0]]).run.totals["open"] == 0


def test_with_the_customers_own_key_nothing_is_posted(account):
    owner = a_user()
    team = an_organization(owner)
    the_card(organization_id=team.pk, billing_mode=BillingMode.BYOK)
    used(team, billing_mode=BillingMode.BYOK)
    asked = compared(told(read_=1_500), actor=acting(owner))
    before = LedgerTxn.objects.count()
    line = decide(the_line(asked.run), "accept", an_operator()).line
    assert (line.status, line.txn, LedgerTxn.objects.count()) == ("accepted", None, before)


def test_owners_compare_their_own_accounts_only(account):
    stranger, owner = acting(a_user()), a_user()
    with pytest.raises(NotFound):
        compared(told(), actor=stranger)
    team = an_organization(owner)
    the_card(organization_id=team.pk, billing_mode=BillingMode.BYOK)
    with pytest.raises(NotFound):
        compared(told(), actor=stranger)
    assert compared(told(), actor=acting(owner)).is_new
    with pytest.raises(Forbidden):
        reconcile.request(
            asking=Asking(provider_id=None, starts_on=DAY, ends_on=NEXT), actor=acting(owner)
        )
    assert ReconRun.objects.count() == 1


def test_a_repeated_request_is_one_run_and_its_key_says_so_once(account):
    used()
    first = compared(told(), request_key="once")
    again = compared(told(), request_key="once")
    assert (again.run, again.is_new) == (first.run, False)
    assert ReconRun.objects.count() == 1
    with pytest.raises(IdempotencyKeyReused):
        compared(told(read_=1), request_key="once")


def test_half_a_report_is_none(account):
    used()
    with pytest.raises(ReportMalformed), transaction.atomic():
        compared([told()[0], (ReportKind.OPENAI_COSTS, b'{"data": [')])
    assert (ReconRun.objects.count(), ProviderReportPage.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    "asking",
    [
        {"ends_on": DAY},
        {"ends_on": DAY + timedelta(days=32)},
        {"starts_on": date(2126, 1, 1), "ends_on": date(2126, 1, 2)},
        {"source": ReconSource.UPLOAD},
        {"pages": ((ReportKind.OPENAI_COSTS, b"{}"),)},
        {"source": ReconSource.UPLOAD, "pages": ((ReportKind.GOOGLE_ROWS, b"[]"),)},
    ],
)
def test_a_mistaken_question_is_refused(account, asking):
    values = {"provider_id": PROVIDER, "starts_on": DAY, "ends_on": NEXT} | asking
    with pytest.raises(InvalidInput):
        reconcile.request(asking=Asking(**values), actor=None)
    assert ReconRun.objects.count() == 0


def test_a_report_that_does_not_come_is_asked_for_again_and_then_given_up(account):
    asking = Asking(provider_id=PROVIDER, starts_on=DAY, ends_on=NEXT)
    (asked,) = reconcile.request(asking=asking, actor=None)
    run_id = asked.run.pk
    assert reconcile.due() == [run_id]
    assert reconcile.start(run_id=run_id) is not None
    assert reconcile.start(run_id=run_id) is None
    assert reconcile.due() == []
    reconcile.fail(run_id=run_id, code="provider_rate_limited", retry_after_s=7_000)
    run = ReconRun.objects.get()
    wait_s = (run.next_at - database_now()).total_seconds()
    assert (run.state, run.error, 6_990 < wait_s <= 7_000) == (
        "queued",
        "provider_rate_limited",
        True,
    )
    reconcile.fail(run_id=run_id, code="provider_bad_key", retry_after_s=None)
    assert ReconRun.objects.get().state == "failed"
    assert reconcile.complete(run_id=run_id, pages=told()).state == "failed"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM billing_recon_lines",
        "TRUNCATE billing_recon_lines",
        "DELETE FROM billing_recon_runs",
        "UPDATE billing_recon_runs SET provider_type = 'google'",
        "UPDATE billing_recon_runs SET state = 'queued'",
        "DELETE FROM billing_provider_report_pages",
        "UPDATE billing_provider_report_pages SET raw = ''",
        "TRUNCATE billing_provider_report_pages",
    ],
)
def test_the_database_keeps_what_was_found(account, statement):
    used()
    compared(told(read_=900))
    with pytest.raises(DatabaseError):
        execute(statement)


def test_two_accounts_may_send_the_same_page(account):
    other = ids.new()
    the_card(provider_id=other)
    used()
    compared(told(read_=0, wrote=0))
    asking = Asking(
        provider_id=other,
        starts_on=DAY,
        ends_on=NEXT,
        source=ReconSource.UPLOAD,
        pages=tuple(told(read_=0, wrote=0)),
    )
    reconcile.request(asking=asking, actor=None)
    assert ProviderReportPage.objects.count() == 4


def test_an_empty_report_says_that_all_of_it_is_ours(account):
    used()
    report = AccountReport(
        provider_id=PROVIDER, provider_type="openai", account_ref="", content=Report()
    )
    found = reconcile.compare(DAY, report)
    assert {one.line_class.value for one in found} == {"phantom_usage"}
