"""Breaker, cool-down and refused keys: what calls show, and what routing does about it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from ideplatform.kit.db import database_now, run_db
from ideplatform.kit.egress import NotReachable
from ideplatform.kit.errors import PlatformError
from providers.errors import BadKey, CallRefused, Overloaded, ProviderNotReady, RateLimited
from providers.models import ProviderHealth
from providers.services import gateway, health, probes, routing
from providers.types import HealthState
from tests.providers.builders import a_call, a_provider, told

pytestmark = pytest.mark.usefixtures("paid_door")


def _route(provider, *, is_trial=False):
    from dataclasses import replace

    return replace(routing.route_to(provider, "sim-echo"), is_trial=is_trial)


def _fail(provider, error: type[PlatformError] = Overloaded, times=1, *, is_trial=False):
    for _ in range(times):
        health.save(health.failed(_route(provider, is_trial=is_trial), error(), at=database_now()))


def _succeed(provider, times=1, *, is_trial=False):
    for _ in range(times):
        route = _route(provider, is_trial=is_trial)
        health.save(health.succeeded(route, latency_ms=7, at=database_now()))


def _row(provider, model="sim-echo"):
    return ProviderHealth.objects.get(provider=provider, model=model)


def _pause_s(row):
    return (row.until - row.checked_at).total_seconds()


def _is_due(provider):
    ProviderHealth.objects.filter(provider=provider).update(until=Now() - timedelta(seconds=1))


def _reason(call=None):
    (candidate,) = routing.resolve("sim-echo", (call or a_call()).context, routing.Need())
    return candidate.reason


def test_four_failures_are_no_verdict():
    provider = a_provider()
    _fail(provider, times=4)
    assert _reason() == ""


def test_at_five_samples_and_half_of_them_bad_the_breaker_opens_for_half_a_minute():
    provider = a_provider()
    _succeed(provider, times=3)
    _fail(provider, times=2)
    assert _reason() == ""
    _fail(provider)
    row = _row(provider)
    assert (row.state, row.openings, row.error_code) == ("open", 1, "provider_busy")
    assert _pause_s(row) == 30
    assert _reason() == "breaker_open"


def test_unreachable_addresses_count():
    provider = a_provider()
    _fail(provider, NotReachable, times=5)
    assert _reason() == "breaker_open"


def test_a_caller_s_mistakes_never_count():
    provider = a_provider()
    _fail(provider, CallRefused, times=20)
    assert _reason() == ""


def test_when_the_pause_is_over_one_call_at_a_time_may_try():
    provider = a_provider()
    _fail(provider, times=5)
    _is_due(provider)
    (route,) = routing.plan(a_call())
    assert route.is_trial
    health.claim(route)
    with pytest.raises(ProviderNotReady):
        health.claim(route)


def test_a_good_trial_closes_and_a_bad_one_doubles_the_pause_up_to_ten_minutes():
    provider = a_provider()
    _fail(provider, times=5)
    pauses = []
    for _ in range(6):
        _is_due(provider)
        _fail(provider, is_trial=True)
        pauses.append(_pause_s(_row(provider)))
    assert pauses == [60, 120, 240, 480, 600, 600]
    _is_due(provider)
    _succeed(provider, is_trial=True)
    assert _row(provider).state == HealthState.CLOSED
    assert _reason() == ""
    _fail(provider, times=5)
    assert _pause_s(_row(provider)) == 30


def test_a_rate_limit_cools_the_whole_account_longer_each_time():
    provider = a_provider()
    pauses = []
    for _ in range(5):
        _fail(provider, RateLimited)
        pauses.append(_pause_s(_row(provider, health.KEY)))
    assert pauses == [5, 10, 20, 40, 60]
    assert _reason() == "cooling_down"
    _is_due(provider)
    assert _reason() == ""


def test_a_refused_key_is_unready_until_it_changes():
    provider = a_provider()
    _fail(provider, BadKey)
    assert _reason() == "key_invalid"
    health.key_replaced(provider.pk)
    assert _reason() == ""


def test_a_verdict_about_the_former_key_is_void():
    provider = a_provider()
    before = database_now() - timedelta(seconds=1)
    health.save(health.failed(_route(provider), BadKey(), at=before))
    assert _reason() == ""


def test_a_late_success_from_before_the_opening_does_not_close():
    provider = a_provider()
    before = database_now()
    _fail(provider, times=5)
    health.save(health.succeeded(_route(provider, is_trial=True), latency_ms=1, at=before))
    assert _reason() == "breaker_open"


async def test_calls_open_the_breaker_and_a_later_call_closes_it(paid_door):
    provider = await run_db(a_provider)
    for _ in range(2):
        await told(gateway.stream(await run_db(a_call, "[[sim:status=500]]")))
    refused = await told(gateway.stream(await run_db(a_call)))
    assert refused.error is not None
    assert refused.error.extra["targets"] == [{"model": "sim-echo", "reason": "breaker_open"}]
    await run_db(_is_due, provider)
    calls = [await run_db(a_call, "[[sim:first=300]]") for _ in range(5)]
    answers = await asyncio.gather(*(told(gateway.stream(call)) for call in calls))
    assert [answer.error is None for answer in answers].count(True) == 1
    after = await told(gateway.stream(await run_db(a_call)))
    assert after.error is None


async def test_a_bad_key_is_asked_once_and_then_skipped(paid_door):
    await run_db(a_provider, key="bad-key-0123456789")
    first = await told(gateway.stream(await run_db(a_call)))
    second = await told(gateway.stream(await run_db(a_call)))
    assert type(first.error) is BadKey
    assert second.error is not None
    assert second.error.extra["targets"] == [{"model": "sim-echo", "reason": "key_invalid"}]
    assert len(paid_door.ledger()) == 1


def test_a_probe_closes_the_breaker_of_an_account_that_answers(paid_door):
    provider = a_provider()
    _fail(provider, times=5)
    _is_due(provider)
    ProviderHealth.objects.update(checked_at=Now() - timedelta(minutes=2))
    assert probes.run() == 1
    assert _row(provider).state == HealthState.CLOSED
    assert paid_door.ledger() == []
    assert probes.run() == 0


def test_a_probe_keeps_the_breaker_of_a_dead_account_open():
    provider = a_provider(config={"base_url": "http://localhost:9/v1"})
    _fail(provider, times=5)
    _is_due(provider)
    ProviderHealth.objects.update(checked_at=Now() - timedelta(minutes=2))
    probes.run()
    row = _row(provider)
    assert (row.state, row.openings) == ("open", 2)
