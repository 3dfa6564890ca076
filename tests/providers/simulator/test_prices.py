"""The simulator's own price reading, against the vectors that billing is tested with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from providers.simulator.ledger import Row
from providers.simulator.prices import PriceList
from providers.simulator.script import Usage
from tests.fakes.simulator import PRICES, ROOT

VECTORS = json.loads((ROOT / "billing/data/usage_normalisation_vectors.json").read_bytes())


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["id"])
def test_each_vector_costs_exactly_what_it_says(vector):
    row = Row(
        seq=1,
        at=datetime(2026, 11, 1, tzinfo=UTC),
        vendor=vector["api"].partition(".")[0],
        operation="chat",
        path="/p",
        model=vector["model"].removeprefix("gemini/"),
        service_tier=vector["service_tier"],
        tokens=Usage(**vector["classes"]),
    )
    lines = PriceList.load(PRICES).lines(row)
    assert sum((line.amount_usd for line in lines), Decimal(0)) == Decimal(vector["estimated_cost"])


def test_a_model_without_a_price_costs_nothing():
    row = Row(
        seq=1,
        at=datetime(2026, 11, 1, tzinfo=UTC),
        vendor="openai",
        operation="chat",
        path="/p",
        model="llama-unpriced",
        tokens=Usage(input=10),
    )
    assert PriceList.load(PRICES).lines(row) == []
