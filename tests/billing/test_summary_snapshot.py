"""Sums, balance and budgets of one summary are of one moment, whatever commits meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test import Client

from accounts.models import User
from accounts.services import sessions
from billing.models import Budget
from billing.services import customers, holds, usage
from ideplatform.kit import clock
from ideplatform.kit.db import database_now, snapshot
from tests.billing.calls import SIMULATOR, publish, usd
from tests.billing.funds import a_budget, a_reservation, money_of, the_call
from tests.billing.waiting import waiting_backends
from tests.billing.web.stage import reader
from tests.factories import a_user, an_organization
from tests.waiting import eventually

SUMMARY = "/api/v1/billing/summary"
# A reader that has the sums waits here for the wallet, and for budgets that come after it.
_BARRIER = "LOCK TABLE billing_ledger_accounts, billing_budgets IN ACCESS EXCLUSIVE MODE"


def a_running_call(owner: User):
    """An organization of 5 USD with a budget of 10, and a call that is about to end."""
    team = an_organization(owner)
    customers.ensure([team.pk])
    a_budget(team, "10")
    call = a_reservation(team, "1")
    holds.reserve(call)
    return team, the_call(call, occurred_at=clock.now(), completed_at=clock.now())


def alone(work):
    try:
        return work()
    finally:
        connections.close_all()


def test_what_is_billed_meanwhile_is_in_none_of_them_or_in_all(committed_db):
    publish(SIMULATOR)
    owner = a_user()
    team, call = a_running_call(owner)
    pair = sessions.sign_in(user=owner, ip="", user_agent="test")
    client = Client(headers={"Authorization": f"Bearer {pair.access}"})
    database = connection.settings_dict["NAME"]

    def read():
        return client.get(SUMMARY, {"organization_id": str(team.pk)}).json()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(_BARRIER)
            reading = pool.submit(alone, read)
            eventually(lambda: waiting_backends(database, "billing_ledger_accounts"))
            usage.settle(call)
            settled_at = database_now()
        shown = reading.result(30)
    assert money_of(team)[1] == usd("4.9986")
    assert (shown["totals"]["requests"], usd(shown["totals"]["billed_cost"])) == (0, usd("0"))
    assert (usd(shown["balance"]["posted"]), usd(shown["balance"]["held"])) == (usd("5"), usd("1"))
    (budget,) = shown["budgets"]
    assert (usd(budget["spent"]), usd(budget["held"])) == (usd("0"), usd("1"))
    assert shown["as_of"] < clock.rfc3339(settled_at)
    after = read()
    assert (after["totals"]["requests"], usd(after["totals"]["billed_cost"])) == (1, usd("0.0014"))
    assert (usd(after["balance"]["posted"]), usd(after["balance"]["held"])) == (
        usd("4.9986"),
        usd("0"),
    )
    (budget,) = after["budgets"]
    assert (usd(budget["spent"]), usd(budget["held"])) == (usd("0.0014"), usd("0"))


def test_the_dashboard_s_overview_is_of_one_moment_too(committed_db):
    publish(SIMULATOR)
    owner = a_user()
    team, call = a_running_call(owner)
    browser = reader(owner)
    database = connection.settings_dict["NAME"]

    def read():
        return browser.get(f"/billing/?organization={team.pk}").content.decode()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(_BARRIER)
            reading = pool.submit(alone, read)
            eventually(lambda: waiting_backends(database, "billing_ledger_accounts"))
            usage.settle(call)
        page = reading.result(30)
    assert "0.0014" not in page
    assert "0.0014" in read()


def test_in_a_snapshot_nothing_is_written(committed_db):
    team = an_organization(a_user())
    with pytest.raises(DatabaseError, match="read-only"), snapshot():
        a_budget(team, "1")
    assert not Budget.objects.exists()
