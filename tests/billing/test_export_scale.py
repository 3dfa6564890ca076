"""A list of any length leaves a process as small as it was, and loses nothing on the way."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from billing.models import Export
from billing.services import exports, usage
from billing.types import UsageFilters
from tests.billing.calls import SIMULATOR, a_call, publish
from tests.factories import a_user, an_actor, an_organization

MOST_GROWN_KIB = 64 * 1024
OTHER = """
import json, sys, django
django.setup()
from tests.billing import exporting
print(json.dumps(getattr(exporting, sys.argv[1])(*sys.argv[2:])))
"""
COPIES = """
INSERT INTO usage_events SELECT made.*
FROM usage_events e CROSS JOIN generate_series(1, %s) AS n
CROSS JOIN LATERAL jsonb_populate_record(e, jsonb_build_object(
    'id', gen_random_uuid(), 'request_id', gen_random_uuid(), 'tokens_input', n,
    'billed_cost', 0, 'estimated_cost', n * 0.000000000001, 'txn_id', NULL,
    'billing_mode', 'byok', 'occurred_at', e.occurred_at + n * interval '1 second')) AS made
"""


def _elsewhere(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", OTHER, *arguments], check=True, capture_output=True, text=True
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _copy(count: int) -> None:
    """The only event there is, so many times more; each costs a picodollar more."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SET transaction_timeout = 0")
        cursor.execute(COPIES, [count])
        cursor.execute("ANALYZE usage_events")


@pytest.mark.parametrize(
    "count",
    [20_000, pytest.param(1_000_000, marks=[pytest.mark.scale, pytest.mark.timeout(900)])],
)
def test_a_million_lines_fit_through_a_small_process(committed_db, count):
    publish(SIMULATOR)
    owner = a_user()
    team = an_organization(owner)
    usage.settle(a_call(team))
    _copy(count)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), sum(tokens_input), sum(estimated_cost), sum(billed_cost)"
            " FROM usage_events"
        )
        wanted = cursor.fetchone()
    filters = UsageFilters(organization_id=team.pk)
    asked = exports.request(actor=an_actor(owner), filters=filters)
    told = _elsewhere("export", committed_db, str(asked.pk))
    assert (told["state"], told["rows"]) == ("done", count + 1)
    assert told["grown_kib"] < MOST_GROWN_KIB
    assert _sums(exports.pieces(Export.objects.get(pk=asked.pk))) == wanted


def test_a_stream_is_the_export_line_for_line(committed_db):
    publish(SIMULATOR)
    owner = a_user()
    team = an_organization(owner)
    usage.settle(a_call(team))
    _copy(20_000)
    asked = exports.request(actor=an_actor(owner), filters=UsageFilters())
    exports.run(export_id=asked.pk)
    row = Export.objects.get(pk=asked.pk)
    told = _elsewhere("stream", committed_db, str(owner.pk))
    assert row.sha256 is not None
    assert (told["rows"], told["sha256"]) == (20_001, bytes(row.sha256).hex())
    assert told["grown_kib"] < MOST_GROWN_KIB


def _sums(pieces) -> tuple[int, int, Decimal, Decimal]:
    """Of all lines, read piece by piece: each is whole lines."""
    header: list[str] = []
    count, tokens, cost, billed = 0, 0, Decimal(0), Decimal(0)
    for piece in pieces:
        rows = csv.reader(io.StringIO(piece.decode(), newline=""))
        header = header or next(rows)
        places = [header.index(n) for n in ("tokens_input", "estimated_cost", "billed_cost")]
        for row in rows:
            count += 1
            tokens += int(row[places[0]])
            cost += Decimal(row[places[1]])
            billed += Decimal(row[places[2]])
    return count, tokens, cost, billed
