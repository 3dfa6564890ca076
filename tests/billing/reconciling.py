"""Builders of comparisons: an account at OpenAI, its calls, its reports, its lines."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import connection, transaction

from accounts.models import User
from accounts.services import sessions
from accounts.types import Actor
from billing.models import (
    LedgerEntry,
    LedgerTxn,
    ReconLine,
    ReconRun,
)
from billing.services import cards, reconcile, usage
from billing.services.reconcile import Asking
from billing.types import (
    BillingMode,
    LineAction,
    ReconSource,
    ReportKind,
)
from tests.billing.calls import PROVIDER, a_call, a_list, publish
from tests.billing.funds import a_customer
from tests.billing.reports import seconds
from tests.factories import a_user
from tests.providers.builders import the_platform

DAY = date(2026, 10, 5)
NEXT = DAY + timedelta(days=1)
USD = Decimal


def an_account() -> UUID:
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
