"""`manage.py seed_demo`: a team of two, their workspace, and everything a first call needs."""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser
from decimal import Decimal

from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.models import User
from accounts.services import members, organizations, registration
from accounts.services.members import Person
from accounts.types import Actor, OrganizationRole
from billing.services import customers, ledger, usage
from billing.types import LotKind
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from ideplatform.management import demo_usage, preparation
from providers import selectors
from workspaces.services import files, workspaces
from workspaces.services import members as workspace_members
from workspaces.services.workspaces import Changes
from workspaces.types import Origin, WorkspaceRole

DEMO_CREDIT_USD = Decimal(100)
OWNER, EDITOR = "ada@demo.example", "grace@demo.example"
FILES = {
    "README.md": (
        "# Demo project\n\nAsk the coder to change a file, for example `src/greeting.py`.\n"
    ),
    "src/greeting.py": (
        "def greeting(name: str) -> str:\n"
        '    return "Hello, " + name + "!"\n\n\n'
        'if __name__ == "__main__":\n'
        '    print(greeting("world"))\n'
    ),
    "src/saudação.txt": "Olá, mundo! 👋\n",
}


class Command(BaseCommand):
    help = "Make the demo team; passwords are random and shown this once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the sign-ins as JSON")

    def handle(self, *args: object, **options: object) -> None:
        preparation.prepare()
        users = [] if User.objects.filter(email=OWNER).exists() else _team()
        if options["json"]:
            self.stdout.write(json.dumps({"users": users}))
        for user in [] if options["json"] else users:
            self.stdout.write(f"{user['email']}  {user['password']}")


@transaction.atomic
def _team() -> list[dict[str, str]]:
    passwords = {OWNER: secrets.token_urlsafe(12), EDITOR: secrets.token_urlsafe(12)}
    ada = _person(OWNER, "Ada Lovelace", passwords[OWNER], is_staff=True, is_superuser=True)
    grace = _person(EDITOR, "Grace Hopper", passwords[EDITOR])
    actor = Actor(user_id=ada.pk)
    team = organizations.create(actor=actor, name="Demo team", slug="demo-team")
    members.add(
        actor=actor,
        organization_id=team.pk,
        person=Person(user_id=grace.pk),
        role=OrganizationRole.MEMBER,
    )
    customers.ensure([team.pk])
    ledger.credit(
        customer_id=team.pk,
        amount_usd=DEMO_CREDIT_USD,
        kind=LotKind.PROMO,
        key=f"demo:{team.pk}",
        reason="Credit to try the platform with",
    )
    workspace = workspaces.create(
        actor=actor, organization_id=team.pk, changes=Changes(name="Demo project")
    )
    workspace_members.add(
        actor=actor, workspace_id=workspace.pk, role=WorkspaceRole.EDITOR, user_id=grace.pk
    )
    for path, text in FILES.items():
        files.write_text(
            actor=actor,
            workspace_id=workspace.pk,
            path=path,
            text=text,
            base_version=None,
            origin=Origin.IMPORT,
        )
    account = selectors.platform_account(preparation.SIMULATED_SLUG)
    if account is not None:
        _use(
            demo_usage.Team(
                organization_id=team.pk,
                workspace_id=workspace.pk,
                people=(ada.pk, grace.pk),
                provider_id=account.pk,
            )
        )
    return [{"email": email, "password": password} for email, password in passwords.items()]


def _use(team: demo_usage.Team) -> None:
    """Three weeks of calls, paid with the team's credit."""
    for settled in usage.settle_many(list(demo_usage.calls(team, database_now()))):
        if isinstance(settled, PlatformError):
            raise settled


def _person(email: str, full_name: str, password: str, **flags: bool) -> User:
    user = User(email=email, full_name=full_name, is_email_verified=True, **flags)
    user.set_password(password)
    return registration.create(user)
