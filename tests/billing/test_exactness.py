"""Money to the last of its twelve places: vendors' vectors end to end, and very many tiny calls."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db import connection

from accounts.models import Organization
from billing.models import UsageEvent
from billing.services import holds, ledger, prices, usage, verification
from billing.types import ProviderCallRecord
from providers.adapters import usage as vendors
from tests.billing.calls import NOON, a_call, publish, tokens, usd
from tests.billing.folding import folded
from tests.billing.funds import a_customer, a_reservation, money_of, the_call

VECTORS = json.loads((prices.DATA / "usage_normalisation_vectors.json").read_text())["vectors"]
READERS = {"openai": vendors.openai, "anthropic": vendors.anthropic, "google": vendors.google}


def test_what_a_vendor_said_leaves_the_wallet_to_the_last_decimal(db):
    """Each of the 27: the vendor's own usage object, read, priced, charged."""
    prices.ensure_published()
    team = a_customer(paid="1000")
    left = usd("1000")
    for vector in VECTORS:
        vendor = vector["api"].partition(".")[0]
        name = vector["model"].removeprefix("gemini/")
        call = a_reservation(team, "10", provider_type=vendor, model=name)
        holds.reserve(call)
        settled = usage.settle(
            the_call(
                call,
                requested_model=name,
                served_model=name,
                service_tier=vector["service_tier"],
                tokens=READERS[vendor](vector["raw_usage"]),
            )
        )
        cost = usd(vector["estimated_cost"])
        assert (settled.cost_usd, settled.billed_usd) == (cost, cost), vector["id"]
        left -= cost
        assert money_of(team) == (left, 0, 0), vector["id"]
    assert UsageEvent.objects.count() == len(VECTORS) == 27
    assert verification.breaches() == []


INPUT, OUTPUT = "0.000000000000500", "0.000000000000333"  # USD: the fifteen places of a price
TINY = {
    "litellm_provider": "openai",
    "mode": "chat",
    "input_cost_per_token": INPUT,
    "output_cost_per_token": OUTPUT,
}
DAYS = 3


@dataclass
class Sums:
    """Whole millionths of a millionth of a dollar, counted beside the database."""

    events: int = 0
    total: int = 0
    zeros: int = 0

    def add(self, incoming: int, outgoing: int) -> None:
        """One call; Python rounds rational numbers half to even, as the design says."""
        cost = round((Fraction(INPUT) * incoming + Fraction(OUTPUT) * outgoing) * 10**12)
        self.events += 1
        self.total += cost
        self.zeros += cost == 0

    @property
    def usd(self) -> Decimal:
        return Decimal(self.total).scaleb(-12)


def _tiny_calls(
    team: Organization, count: int, chance: random.Random, sums: Sums
) -> list[ProviderCallRecord]:
    calls = []
    for _ in range(count):
        incoming, outgoing = chance.randrange(10), chance.randrange(10)
        sums.add(incoming, outgoing)
        moment = NOON + timedelta(seconds=chance.randrange(DAYS * 86_400))
        calls.append(
            a_call(
                team,
                provider_type="openai",
                requested_model="tiny",
                served_model="tiny",
                tokens=tokens(input=incoming, output=outgoing),
                occurred_at=moment,
            )
        )
    return calls


def _one(sql: str) -> tuple[Decimal | int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row: tuple[Decimal | int, ...] = cursor.fetchone()
        return row


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(
    ("count", "batch"),
    [(2_000, 200), pytest.param(1_000_000, 1_000, marks=pytest.mark.scale)],
)
def test_tiny_calls_add_up_without_losing_a_millionth_of_a_millionth(committed_db, count, batch):
    publish(json.dumps({"models": {"tiny": TINY}, "aliases": {}}))
    team, chance, sums = a_customer(paid="1"), random.Random(20_261_122), Sums()
    while sums.events < count:
        usage.settle_many(_tiny_calls(team, batch, chance, sums))
    assert sums.zeros > count // 100  # some cost nothing at all, and stay nothing
    told: tuple[object, ...] = (count, sums.usd, sums.usd, sums.zeros)
    assert told == _one(
        "SELECT count(*), sum(estimated_cost), sum(billed_cost),"
        " count(*) FILTER (WHERE billed_cost = 0 AND txn_id IS NULL) FROM usage_events"
    )
    assert money_of(team) == (1 - sums.usd, 0, 0)
    for kind, sign in (
        ("revenue_usage", 1),
        ("provider_payable:openai", 1),
        ("provider_cogs", -1),
    ):
        assert ledger.total_of(kind) == sign * sums.usd
    assert folded() == count
    for table in ("usage_hourly", "usage_daily WHERE dimension = 'model'"):
        assert _one(f"SELECT sum(requests), sum(billed_cost) FROM {table}") == (count, sums.usd)
    assert verification.breaches() == []
