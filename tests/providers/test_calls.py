"""Dispatched calls whose process died: settled once, estimated, by whoever comes first."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
import structlog
from django.db import connections
from django.db.models.functions import Now

from billing.models import Hold, UsageEvent
from billing.services import holds
from billing.types import (
    Accuracy,
    BillingMode,
    Operation,
    Outcome,
    ProviderCallRecord,
    TokenCount,
    UnitClass,
)
from providers.errors import CallRepeated
from providers.services import calls, estimation, routing
from providers.services.calls import Progress
from tests.providers.builders import a_call, a_provider, events_of

pytestmark = pytest.mark.usefixtures("paid_door")


def _dispatched(prompt="one two three four five"):
    a_provider()
    call = a_call(prompt)
    route = routing.plan(call)[0]
    progress = Progress(
        request_id=call.request_id, attempt=1, input_bytes=estimation.input_bytes(call)
    )
    _open(call, route, progress)
    return call, progress


def _open(call, route, progress):
    opening = calls.Opening(call=call, route=route, requested_model="sim-echo", progress=progress)
    asyncio.run(opening.commit())


def _settle(row):
    return asyncio.run(calls.settle(_record(row)))


def _expire():
    Hold.objects.update(expires_at=Now() - timedelta(seconds=1))


def test_a_living_call_is_left_alone():
    call, _ = _dispatched()
    assert holds.sweep() == 0
    assert events_of(call) == []


def test_a_dead_call_without_an_answer_is_settled_from_its_input():
    call, progress = _dispatched()
    _expire()
    assert holds.sweep() == 1
    (event,) = events_of(call)
    assert (event.accuracy, event.outcome) == (Accuracy.ESTIMATED, Outcome.CRASH_RECOVERED)
    assert (event.status, event.tokens_output) == (0, 0)
    assert event.tokens_input == round(progress.input_bytes * estimation.USUAL.input)
    assert Hold.objects.get().state == "settled"
    assert holds.sweep() == 0
    assert len(events_of(call)) == 1


def test_a_dead_call_is_settled_from_its_last_journal():
    call, progress = _dispatched()
    progress.output_bytes = 4_000
    progress.usage = TokenCount({UnitClass.INPUT: 77, UnitClass.OUTPUT: 3})
    progress.served_model, progress.provider_request_id = "sim-echo", "req_1"
    progress.first_token_ms = 12
    calls.renew([progress])
    _expire()
    holds.sweep()
    (event,) = events_of(call)
    assert event.quantities == {"input": 77, "output": 1_000}
    assert (event.status, event.first_token_ms) == (200, 12)
    assert event.provider_request_id == "req_1"


def test_a_renewal_moves_the_lease():
    _, progress = _dispatched()
    _expire()
    calls.renew([progress])
    assert holds.sweep() == 0


def test_the_runner_that_comes_after_the_sweep_changes_nothing():
    call, _ = _dispatched()
    row = Hold.objects.get()
    _expire()
    holds.sweep()
    assert _settle(row) is None
    (event,) = events_of(call)
    assert event.outcome == Outcome.CRASH_RECOVERED


def test_the_sweep_that_comes_after_the_runner_changes_nothing():
    call, _ = _dispatched()
    _expire()
    settlement = _settle(Hold.objects.get())
    assert settlement is not None
    assert holds.sweep() == 0
    (event,) = events_of(call)
    assert event.outcome == Outcome.OK


def test_runner_and_sweeps_at_once_settle_once():
    call, _ = _dispatched()
    row = Hold.objects.get()
    _expire()
    begin = threading.Barrier(5)
    failures = []

    def _race(work):
        begin.wait()
        try:
            work()
        except Exception as error:  # noqa: BLE001  (a thread's failure must reach the test)
            failures.append(error)
        finally:
            connections.close_all()

    works = [holds.sweep] * 4 + [lambda: _settle(row)]
    threads = [threading.Thread(target=_race, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert UsageEvent.objects.filter(request_id=call.request_id).count() == 1


def test_one_attempt_is_dispatched_once():
    call, progress = _dispatched()
    (route,) = routing.plan(call)
    again = Progress(request_id=call.request_id, attempt=1, input_bytes=progress.input_bytes)
    with pytest.raises(CallRepeated):
        _open(call, route, again)
    assert Hold.objects.count() == 1


def test_old_settled_calls_are_forgotten_but_their_events_stay():
    call, _ = _dispatched()
    _settle(Hold.objects.get())
    past = Now() - timedelta(days=31)
    Hold.objects.update(expires_at=past, ended_at=past)
    holds.sweep()
    assert Hold.objects.count() == 0
    assert len(events_of(call)) == 1


def test_a_row_that_cannot_be_settled_holds_up_no_other():
    broken, _ = _dispatched()
    Hold.objects.update(last_usage={"input": -5})
    sound, _ = _dispatched()
    _expire()
    with structlog.testing.capture_logs() as logs:
        assert holds.sweep() == 1
    assert len(events_of(sound)) == 1
    assert events_of(broken) == []
    assert "hold.recovery_failed" in {entry["event"] for entry in logs}
    assert holds.sweep() == 0


def test_what_models_show_is_learned_and_used():
    key = ("openai_compatible", "a-model-of-its-own")
    estimation.learn(
        key,
        input_bytes=100_000,
        output_bytes=100_000,
        tokens=TokenCount({UnitClass.INPUT: 20_000, UnitClass.OUTPUT: 50_000}),
    )
    estimation.flush()
    ratio = estimation.ratios({key})[key]
    assert (ratio.input, ratio.output) == (0.2, 0.5)
    estimation.flush()
    assert estimation.ratios({key})[key] == ratio


def _record(row: Hold) -> ProviderCallRecord:
    assert row.dispatched_at is not None
    return ProviderCallRecord(
        request_id=row.request_id,
        attempt=row.attempt,
        organization_id=row.customer_id,
        workspace_id=row.workspace_id,
        user_id=row.user_id,
        api_key_id=row.api_key_id,
        agent_id=row.agent_id,
        conversation_id=row.conversation_id,
        run_id=row.run_id,
        provider_id=row.provider_id,
        provider_type=row.provider_type,
        billing_mode=BillingMode(row.billing_mode),
        operation=Operation(row.operation),
        requested_model=row.model,
        served_model=row.model,
        tokens=TokenCount({UnitClass.INPUT: 5, UnitClass.OUTPUT: 5}),
        status=200,
        accuracy=Accuracy.EXACT,
        outcome=Outcome.OK,
        occurred_at=row.dispatched_at,
        completed_at=row.dispatched_at,
    )
