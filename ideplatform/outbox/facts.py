"""Publish a fact with the change that made it true, and who listens to which topic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from django.db import transaction

from ideplatform.outbox import relay

Value = str | int | bool | None
# Arrays, because an import publishes 20,000 facts while others wait for its locks.
_INSERT = """
INSERT INTO outbox_facts (topic, key, payload, attempts)
SELECT %s, key, payload::jsonb, 0 FROM unnest(%s::text[], %s::text[])
  WITH ORDINALITY AS new (key, payload, number) ORDER BY number
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
    keys, payloads = [], []
    for key, payload in facts:
        keys.append(key)
        payloads.append(json.dumps(dict(payload)))
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [topic, keys, payloads])
    transaction.on_commit(relay.ring)
