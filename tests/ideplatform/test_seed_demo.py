"""The demo team: made once, ready for a first call."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

from django.core.management import call_command

from accounts.models import Organization, OrganizationMembership, User
from billing.models import LedgerAccount, PriceVersion, UsageEvent
from billing.services import verification
from ideplatform.management.demo_usage import DAYS
from providers.models import ModelAlias, Provider
from workspaces.models import FileNode, Workspace, WorkspaceMembership


def seed() -> list[dict[str, str]]:
    out = io.StringIO()
    call_command("seed_demo", "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return list(answer["users"])


def test_the_team_can_sign_in_and_work(committed_db):
    ada, grace = seed()
    assert User.objects.get(email=ada["email"]).check_password(ada["password"])
    assert User.objects.get(email=grace["email"]).check_password(grace["password"])
    workspace = Workspace.objects.get()
    roles = dict(WorkspaceMembership.objects.values_list("user__email", "role"))
    assert roles == {ada["email"]: "owner", grace["email"]: "editor"}
    assert FileNode.objects.filter(workspace=workspace, path="src/greeting.py").exists()


def test_a_first_call_finds_prices_an_account_and_aliases(committed_db):
    seed()
    assert PriceVersion.objects.filter(state="published").count() == 1
    account = Provider.objects.get()
    assert (account.slug, account.scope, account.billing_mode) == (
        "simulated",
        "platform",
        "platform",
    )
    assert ModelAlias.objects.filter(name="default/code").exists()


def test_the_team_has_credit_to_try_the_platform_with(committed_db):
    seed()
    team = Organization.objects.get(slug="demo-team")
    purse = LedgerAccount.objects.get(customer=team.pk, kind="wallet_promo")
    events = UsageEvent.objects.filter(customer=team.pk)
    spent = sum((event.billed_cost for event in events), Decimal(0))
    assert purse.posted == 105 - spent
    assert purse.posted > 50
    assert verification.breaches() == []


def test_the_team_has_a_past_to_look_at(committed_db):
    seed()
    events = UsageEvent.objects.all()
    ages = {(event.created_at - event.occurred_at).days for event in events}
    assert ages == set(range(1, DAYS + 1))
    people = set(events.values_list("user__email", flat=True))
    assert people == {"ada@demo.example", "grace@demo.example"}
    assert all(event.estimated_cost and event.saved_by_cache >= 0 for event in events)
    assert any(event.saved_by_cache for event in events)


def test_seeding_again_changes_nothing(committed_db):
    seed()
    before = [
        model.objects.count() for model in (User, Organization, OrganizationMembership, Workspace)
    ]
    versions, accounts = PriceVersion.objects.count(), Provider.objects.count()
    assert seed() == []
    assert before == [
        model.objects.count() for model in (User, Organization, OrganizationMembership, Workspace)
    ]
    assert (PriceVersion.objects.count(), Provider.objects.count()) == (versions, accounts)


def test_the_simulated_account_follows_a_changed_address(committed_db):
    seed()
    account = Provider.objects.get()
    right = account.config
    Provider.objects.update(config={"base_url": "http://127.0.0.1:1/v1"})
    call_command("prepare")
    account.refresh_from_db()
    assert account.config == right
