"""Facts reach the task queue at least once, and never before their commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import connections, transaction

from ideplatform import subscriptions
from ideplatform.observability import metrics
from ideplatform.outbox import facts, relay
from ideplatform.outbox.models import Fact
from tests.waiting import eventually


class Queue:
    """What the relay handed over, and whether the queue takes anything."""

    def __init__(self) -> None:
        self.is_up = True
        self.sent: list[tuple[str, object]] = []

    def send(self, task: str, arguments: list[object]) -> None:
        if not self.is_up:
            raise ConnectionError
        self.sent.append((task, arguments[0]))


@pytest.fixture
def queue() -> Iterator[Queue]:
    queue = Queue()
    relay.configure({"thing.happened": ("first.task", "second.task")}, send=queue.send)
    yield queue
    subscriptions.wire()


def publish(number: int = 1, topic: str = "thing.happened") -> None:
    facts.publish(topic, key=str(number), payload={"number": number})


def test_a_fact_needs_the_transaction_that_made_it_true(committed_db, queue):
    with pytest.raises(transaction.TransactionManagementError):
        publish()
    assert Fact.objects.count() == 0


def test_every_listener_gets_a_committed_fact_without_being_asked(committed_db, queue):
    with transaction.atomic():
        publish()
    eventually(lambda: len(queue.sent) == 2)
    assert queue.sent == [("first.task", {"number": 1}), ("second.task", {"number": 1})]
    eventually(lambda: Fact.objects.count() == 0)


def test_a_rolled_back_fact_is_never_told(committed_db, queue):
    with transaction.atomic():
        publish()
        transaction.set_rollback(True)
    assert relay.drain() == 0
    assert queue.sent == []


def test_a_fact_waits_while_the_queue_is_down(db, queue):
    queue.is_up = False
    publish()
    assert relay.drain() == 0
    assert Fact.objects.get().attempts == 1
    queue.is_up = True
    Fact.objects.update(next_at="2020-01-01T00:00Z")
    assert relay.drain() == 1
    assert len(queue.sent) == 2
    assert Fact.objects.count() == 0


def test_a_fact_nobody_listens_to_is_done(db, queue):
    publish(topic="nobody.listens")
    assert relay.drain() == 1
    assert queue.sent == []
    assert Fact.objects.count() == 0


def test_facts_keep_their_order_over_batches(db, queue):
    for number in range(relay.BATCH + 5):
        publish(number)
    relay.drain()
    assert [payload["number"] for task, payload in queue.sent if task == "first.task"] == list(
        range(relay.BATCH + 5)
    )


def test_parallel_relays_hand_each_fact_over_once(committed_db, queue):
    Fact.objects.bulk_create(
        Fact(topic="thing.happened", key=str(n), payload={"number": n}) for n in range(300)
    )

    def drain() -> None:
        try:
            relay.drain()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    relay.drain()
    firsts = [payload["number"] for task, payload in queue.sent if task == "first.task"]
    assert sorted(firsts) == list(range(300))


def test_the_gauges_show_what_waits(db, queue):
    publish()
    relay.measure()
    assert metrics.outbox_pending._value.get() == 1
    relay.drain()
    relay.measure()
    assert metrics.outbox_pending._value.get() == 0
    assert metrics.outbox_oldest_age_seconds._value.get() == 0
