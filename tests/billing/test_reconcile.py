"""Comparisons of vendors' reports with our books."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import DatabaseError, transaction

from billing.errors import LineDecided, ReportMalformed
from billing.models import (
    ProviderReportPage,
    ReconLine,
    ReconRun,
)
from billing.services import reconcile
from billing.services.reconcile import Asking
from billing.services.reconcile.compared import AccountReport
from billing.types import (
    BillingMode,
    ReconSource,
    ReportKind,
)
from billing.vendor_reports import Report, read
from ideplatform.kit import ids
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
)
from tests.billing.calls import PROVIDER
from tests.billing.funds import a_customer
from tests.billing.reconciling import (
    DAY,
    NEXT,
    acting,
    an_account,
    an_operator,
    compared,
    decide,
    execute,
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


def test_other_keys_of_the_account_are_foreign_and_stay_ignored(account):
    the_card(external_account_ref="key_ours")
    used()
    mine, others = told(key="key_ours"), told(read_=7, wrote=0, cost="0.007", key="key_other")
    run = compared([*mine, others[0]]).run
    line = run.lines.get(key_ref="key_other")
    assert (line.line_class, line.status, line.theirs_quantity) == ("foreign_traffic", "open", 7)
    decide(line, "ignore", an_operator())
    assert compared([*mine, others[0]]).run.totals["open"] == 0


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
