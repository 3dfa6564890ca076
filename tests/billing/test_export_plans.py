"""A list of everything an actor sees is read by the indexes there are, however much others used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import selectors
from billing.selectors import reach
from billing.selectors.usage import CHUNK
from billing.services import usage
from billing.types import UsageFilters
from tests.billing.calls import SIMULATOR, a_call, publish
from tests.billing.funds import a_customer
from tests.factories import a_user, a_workspace, an_actor, an_organization, join_workspace
from workspaces.types import WorkspaceRole

OWN, OTHERS = 12_000, 60_000
COLUMNS = ("id", "occurred_at", "customer_id", "tokens_input")
# The event of one organization, so many times more, one second after the other.
COPIES = """
INSERT INTO usage_events SELECT made.*
FROM usage_events e CROSS JOIN generate_series(1, %s) AS n
CROSS JOIN LATERAL jsonb_populate_record(e, jsonb_build_object(
    'id', gen_random_uuid(), 'request_id', gen_random_uuid(), 'tokens_input', n,
    'billed_cost', 0, 'txn_id', NULL, 'billing_mode', 'byok',
    'occurred_at', e.occurred_at + n * interval '1 second')) AS made
WHERE e.customer_id = %s
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def explained(sql: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + sql.replace("%", "%%"))
        (found,) = cursor.fetchone()
    return list(nodes((found if isinstance(found, list) else json.loads(found))[0]["Plan"]))


def copied(organization, count: int, **facts) -> None:
    usage.settle(a_call(organization, **facts))
    with connection.cursor() as cursor:
        cursor.execute(COPIES, [count, organization.pk])


def test_each_chunk_reads_what_it_answers_and_little_more(committed_db):
    publish(SIMULATOR)
    owner = a_user()
    mine, second = an_organization(owner), an_organization(owner)
    elsewhere = a_customer()
    shared = a_workspace(a_user(), organization=elsewhere)
    join_workspace(shared, owner, WorkspaceRole.OWNER)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SET transaction_timeout = 0")
    copied(mine, OWN)
    copied(second, OWN)
    copied(elsewhere, OWN, workspace_id=shared.pk)
    copied(a_customer(), OTHERS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_events")
    actor, filters = an_actor(owner), UsageFilters()
    assert len(reach.branches(actor, filters)) == 4  # their own organization is one
    chunks = selectors.usage_chunks(actor, filters, COLUMNS)
    with CaptureQueriesContext(connection) as caught:
        first, second_chunk = next(chunks), next(chunks)
    assert len(first) == len(second_chunk) == CHUNK
    queries = [
        one["sql"] for one in caught if "usage_events" in one["sql"] and "UNION" in one["sql"]
    ]
    assert len(queries) == 2
    for sql in queries:
        plan = explained(sql)
        assert {one["Index Name"] for one in plan if "Index Name" in one} == {
            "usage_events_customer",
            "usage_events_workspace",
        }
        assert not [one for one in plan if one["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")]
        read = sum(one["Actual Rows"] for one in plan if "Index Name" in one)
        assert CHUNK <= read <= 3 * CHUNK + 1_000


def test_the_parts_are_the_whole(committed_db):
    publish(SIMULATOR)
    owner, guest = a_user(), a_user()
    team = an_organization(owner)
    elsewhere = a_customer()
    shared = a_workspace(owner, organization=elsewhere)
    join_workspace(shared, guest, WorkspaceRole.EDITOR)
    for payer, workspace, person in (
        (team, None, owner), (team, None, guest), (elsewhere, shared, owner),
        (elsewhere, shared, guest), (elsewhere, None, guest), (a_customer(), None, owner),
    ):  # fmt: skip
        usage.settle(a_call(payer, workspace_id=workspace and workspace.pk, user_id=person.pk))
    for person, seen in ((owner, 4), (guest, 1)):
        actor, filters = an_actor(person), UsageFilters()
        whole = list(reach.events(actor, filters).order_by("-occurred_at", "-id").values_list("id"))
        parts = [row for chunk in selectors.usage_chunks(actor, filters, ("id", "occurred_at"))
                 for row in chunk]  # fmt: skip
        assert [(number,) for number, _ in parts] == whole
        assert len(whole) == seen
