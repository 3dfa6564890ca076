"""Publish a fact with the change that made it true, and who listens to which topic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import transaction

from ideplatform.outbox import relay
from ideplatform.outbox.models import Fact

Value = str | int | bool | None
_ROWS_AT_ONCE = 1_000


def publish(topic: str, *, key: str, payload: Mapping[str, Value]) -> None:
    """Write a fact in the caller's transaction; the relay is rung at commit.

    Delivered at least once, so listeners are idempotent. Payloads carry ids, never content.
    Raises TransactionManagementError outside a transaction: a fact alone proves nothing.
    """
    publish_many(topic, [(key, payload)])


def publish_many(topic: str, facts: Iterable[tuple[str, Mapping[str, Value]]]) -> None:
    """The same for many facts `(key, payload)` of one topic, by few statements."""
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(f"publishing {topic!r} needs a transaction")
    rows = (Fact(topic=topic, key=key, payload=dict(payload)) for key, payload in facts)
    Fact.objects.bulk_create(rows, batch_size=_ROWS_AT_ONCE)
    transaction.on_commit(relay.ring)
