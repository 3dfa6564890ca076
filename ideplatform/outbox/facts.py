"""Publish a fact with the change that made it true, and who listens to which topic."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from ideplatform.outbox import relay
from ideplatform.outbox.models import Fact

Value = str | int | bool | None


def publish(topic: str, *, key: str, payload: Mapping[str, Value]) -> None:
    """Write a fact in the caller's transaction; the relay is rung at commit.

    Delivered at least once, so listeners are idempotent. Payloads carry ids, never content.
    Raises TransactionManagementError outside a transaction: a fact alone proves nothing.
    """
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            f"publish({topic!r}) needs a transaction"
        )
    Fact.objects.create(topic=topic, key=key, payload=dict(payload))
    transaction.on_commit(relay.ring)
