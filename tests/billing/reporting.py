"""Who reports usage: a team with an own account at a vendor, its browser and its keys."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection
from django.test import Client

from accounts.services import sessions
from accounts.types import OrganizationRole
from billing.models import (
    ProviderCard,
)
from billing.services import cards, customers
from billing.types import BillingMode
from ideplatform.kit import ids
from tests.factories import (
    a_user,
    a_workspace,
    an_organization,
    join_organization,
    join_workspace,
)
from workspaces.types import WorkspaceRole

USAGE = "/api/v1/billing/usage"


def a_card(organization, **columns: Any) -> ProviderCard:
    values: dict[str, Any] = {
        "provider_id": ids.new(),
        "organization_id": organization.pk,
        "owner_id": None,
        "provider_type": "openai_compatible",
        "name": "Ours",
        "billing_mode": BillingMode.BYOK,
    } | columns
    cards.write(**values)
    return ProviderCard.objects.get(pk=values["provider_id"])


class House:
    """A team with a workspace and an own account at a vendor."""

    def __init__(self):
        self.owner, self.editor = a_user(), a_user()
        self.team = an_organization(self.owner)
        customers.ensure([self.team.pk])
        join_organization(self.team, self.editor, OrganizationRole.MEMBER)
        self.workspace = a_workspace(self.owner, organization=self.team)
        join_workspace(self.workspace, self.editor, WorkspaceRole.EDITOR)
        self.card = a_card(self.team)
        self.web = client(self.editor)

    def body(self, **facts: Any) -> dict[str, Any]:
        return {
            "request_id": str(ids.new()),
            "provider_id": str(self.card.pk),
            "model": "sim-echo",
            "tokens_input": 1_000,
            "tokens_output": 200,
            "status": 200,
        } | facts

    def post(self, body: object, web: Client | None = None):
        return (web or self.web).post(USAGE, json.dumps(body), content_type="application/json")


def client(user) -> Client:
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


def by_key(organization, user, scopes, **columns: Any) -> Client:
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    web = Client(headers={"Authorization": f"Bearer {pair.access}"})
    answer = web.post(
        "/api/v1/auth/api-keys",
        {"name": "ide", "organization_id": str(organization.pk), "scopes": scopes} | columns,
        content_type="application/json",
    )
    assert answer.status_code == 201, answer.content
    return Client(headers={"x-api-key": answer.json()["key"]})


def everything() -> dict[str, str]:
    """What a refusal must leave as it was."""
    with connection.cursor() as cursor:
        found = {}
        for table in (
            "usage_events",
            "billing_ledger_txns",
            "billing_ledger_entries",
            "billing_ledger_accounts",
            "billing_holds",
            "billing_usage_reports",
            "outbox_facts",
        ):
            rows = f"SELECT t::text AS line FROM {table} t"
            joined = "coalesce(string_agg(line, ',' ORDER BY line), '')"
            cursor.execute(f"SELECT md5({joined}) FROM ({rows}) AS rows")
            found[table] = cursor.fetchone()[0]
    return found
