"""The audit of money is one chain that only grows, and that says when it was touched."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, connections, transaction

from billing.models import BillingAudit
from billing.services import audit, verification
from ideplatform.kit import ids
from tests.billing.console.people import an_operator

ROOT = hashlib.sha256(b"IDE Mundial: billing audit").digest()


def written(count=3):
    actor = an_operator()
    return [
        audit.record(
            action="thing.done",
            actor=actor,
            customer_id=ids.new(),
            target=number,
            details={"amount_usd": "0.10", "é": True},
        )
        for number in range(count)
    ]


def in_python(before: bytes, entry: BillingAudit) -> bytes:
    """The hash of an entry, by the documented form and not by the database's function."""
    row = [
        entry.seq,
        entry.at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        str(entry.actor_id),
        entry.action,
        str(entry.customer_id),
        entry.target,
        dict(sorted(entry.details.items(), key=lambda item: (len(item[0].encode()), item[0]))),
    ]
    text = json.dumps(row, ensure_ascii=False, separators=(", ", ": "))
    return hashlib.sha256(before + text.encode()).digest()


@pytest.mark.django_db
def test_each_entry_holds_the_hash_of_the_one_before():
    before = ROOT
    for number, entry in enumerate(written(), start=1):
        assert (entry.seq, bytes(entry.prev_hash)) == (number, before)
        assert bytes(entry.hash) == in_python(before, entry)
        before = bytes(entry.hash)
    assert verification.breaches() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_audit SET action = 'x'",
        "DELETE FROM billing_audit",
        "TRUNCATE billing_audit",
        "UPDATE billing_audit_head SET seq = seq + 1",
        "DELETE FROM billing_audit_head",
        "TRUNCATE billing_audit_head",
        "INSERT INTO billing_audit_head VALUES (2, 0, '')",
    ],
)
def test_it_only_grows(statement):
    written()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert BillingAudit.objects.count() == 3
    assert verification.breaches() == []


@pytest.mark.django_db
def test_nobody_chooses_their_place_in_it():
    (entry,) = written(1)
    forged = BillingAudit.objects.create(seq=99, action="x", prev_hash=b"1", hash=b"2")
    assert (forged.seq, bytes(forged.prev_hash)) == (2, bytes(entry.hash))
    assert verification.breaches() == []


PLANTED = {
    "a word changed": (
        "UPDATE billing_audit SET details = '{}' WHERE seq = 2",
        ["entry 2 (thing.done) is not what was written"],
    ),
    "an entry removed": (
        "DELETE FROM billing_audit WHERE seq = 2",
        ["entry 3 (thing.done) does not follow entry 2"],
    ),
    "the last one removed": (
        "DELETE FROM billing_audit WHERE seq = 3",
        ["the audit ends in entry 2, its last entry was 3"],
    ),
    "an entry written anew, hash and all": (
        "UPDATE billing_audit a SET target = 'x', hash = billing_audit_hash("
        'jsonb_populate_record(a, \'{"target": "x"}\')) WHERE seq = 2',
        ["entry 3 (thing.done) does not follow entry 2"],
    ),
    "all of it": ("DELETE FROM billing_audit", ["the audit ends in entry 0, its last entry was 3"]),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("statement", "named"), PLANTED.values(), ids=PLANTED)
def test_what_was_touched_is_named(statement, named):
    written()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement)
    assert [breach.row for breach in verification.breaches()] == named
    assert {breach.code for breach in verification.breaches()} == {"I12"}


def test_writers_at_once_make_one_chain(committed_db):
    start = threading.Barrier(8)

    def write(number):
        start.wait()
        try:
            for turn in range(5):
                audit.record(action="thing.done", target=f"{number}/{turn}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert list(BillingAudit.objects.order_by("seq").values_list("seq", flat=True)) == list(
        range(1, 41)
    )
    assert verification.breaches() == []
