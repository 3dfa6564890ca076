"""Publish a fact with the change that made it true, and who listens to which topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from django.db import transaction

from ideplatform.outbox import relay

Value = str | int | bool | None
# One statement, because an import publishes 20,000 facts while others wait for its locks; one
# document, because the driver quotes the elements of an array one by one in Python.
_INSERT = """
INSERT INTO outbox_facts (topic, key, payload, attempts)
SELECT %s, new.fact ->> 0, new.fact -> 1, 0 FROM jsonb_array_elements(%s::jsonb)
  WITH ORDINALITY AS new (fact, number) ORDER BY new.number
"""


def publish(topic: str, *, key: str, payload: Mapping[str, Value]) -> None:
    """Write a fact in the caller's transaction; the relay is rung at commit.

    Delivered at least once, so listeners are idempotent. Payloads carry ids, never content.
    Raises TransactionManagementError outside a transaction: a fact alone proves nothing.
    """
    publish_many(topic, [(key, payload)])


def publish_many(topic: str, facts: Iterable[tuple[str, Mapping[str, Value]]]) -> None:
    """The same for many facts `(key, payload)` of one topic, by one statement."""
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(f"publishing {topic!r} needs a transaction")
    document = msgspec.json.encode([(key, dict(payload)) for key, payload in facts])
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [topic, document.decode()])
    transaction.on_commit(relay.ring)
