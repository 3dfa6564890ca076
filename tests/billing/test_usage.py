"""What is written when a provider call ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, connections, transaction

from billing.errors import RequestReused
from billing.models import ProviderCard, UsageEvent
from billing.services import cards, prices, usage
from billing.types import Accuracy, BillingMode, Outcome, Settlement
from ideplatform.kit import ids
from ideplatform.observability import metrics
from ideplatform.outbox.models import Fact
from tests.billing.calls import NOON, PROVIDER, SIMULATOR, a_call, a_list, publish, tokens, usd
from tests.factories import a_user, a_workspace, an_organization


@pytest.fixture
def organization(db):
    publish(SIMULATOR)
    return an_organization()


def test_a_call_costs_its_tokens_times_their_price(organization):
    settled = usage.settle(a_call(organization, tokens=tokens(input=1_000, output=200)))
    assert settled.cost_usd == 1_000 * usd("0.000001") + 200 * usd("0.000002")
    assert settled.billed_usd == settled.cost_usd
    assert not settled.already_settled


def test_the_event_holds_the_columns_of_the_call(organization):
    call = a_call(
        organization,
        tokens=tokens(input=10, cache_read=20, cache_write_30m=5, output=3, output_reasoning=4),
        provider_request_id="resp_1",
        first_token_ms=12,
        duration_ms=345,
        accuracy=Accuracy.ESTIMATED,
        outcome=Outcome.CLIENT_CANCELLED,
        status=499,
    )
    event = UsageEvent.objects.get(pk=usage.settle(call).event_id)
    assert (event.request_id, event.attempt, event.customer_id) == (
        call.request_id,
        1,
        organization.pk,
    )
    assert (event.tokens_input, event.tokens_output) == (35, 7)
    assert (event.tokens_cache_read, event.tokens_cache_write, event.tokens_reasoning) == (20, 5, 4)
    assert event.quantities == {
        "input": 10,
        "cache_read": 20,
        "cache_write_30m": 5,
        "output": 3,
        "output_reasoning": 4,
    }
    assert (event.status, event.accuracy, event.outcome) == (499, "estimated", "client_cancelled")
    assert (event.model, event.provider_request_id, event.source) == (
        "sim-echo",
        "resp_1",
        "gateway",
    )
    assert (event.first_token_ms, event.duration_ms, event.currency) == (12, 345, "USD")
    assert event.price_version_id == prices.current().version_id
    assert event.estimated_cost == usd("0.00003225")
    assert event.saved_by_cache == 20 * (usd("0.000001") - usd("0.0000001"))
    assert [(line["class"], line["qty"], line["amount"]) for line in event.lines] == [
        ("cache_read", 20, "0.000002000000000"),
        ("cache_write_30m", 5, "0.000006250000000"),
        ("input", 10, "0.000010000000000"),
        ("output", 3, "0.000006000000000"),
        ("output_reasoning", 4, "0.000008000000000"),
    ]


def test_the_same_call_reported_twice_is_charged_once(organization):
    call = a_call(organization)
    first, again = usage.settle(call), usage.settle(replace(call, duration_ms=99))
    assert again == replace(first, already_settled=True)
    assert UsageEvent.objects.count() == 1
    assert Fact.objects.filter(topic="usage.settled").count() == 1


def test_a_repeated_call_with_other_tokens_is_refused_and_changes_nothing(organization):
    call = a_call(organization)
    first = usage.settle(call)
    with pytest.raises(RequestReused):
        usage.settle(replace(call, tokens=tokens(input=1)))
    event = UsageEvent.objects.get()
    assert (event.pk, event.tokens_input) == (first.event_id, 1_000)


def test_each_attempt_is_its_own_event(organization):
    call = a_call(organization)
    usage.settle(call)
    assert not usage.settle(replace(call, attempt=2)).already_settled
    assert UsageEvent.objects.count() == 2


def test_a_batch_answers_each_call_in_order_and_a_refusal_spares_its_neighbours(organization):
    known = a_call(organization)
    usage.settle(known)
    fresh = a_call(organization, tokens=tokens(input=7))
    answers = usage.settle_many([fresh, replace(known, status=500), known, fresh])
    assert isinstance(answers[0], Settlement)
    assert answers[0].cost_usd == usd("0.000007")
    assert isinstance(answers[1], RequestReused)
    assert isinstance(answers[2], Settlement)
    assert answers[2].already_settled
    assert answers[3] == replace(answers[0], already_settled=True)
    assert UsageEvent.objects.count() == 2


def test_nothing_to_settle_writes_nothing(organization):
    assert usage.settle_many([]) == []
    assert not UsageEvent.objects.exists()


@pytest.mark.parametrize("mode", [BillingMode.BYOK, BillingMode.FREE])
def test_who_brings_the_key_is_shown_the_cost_and_billed_nothing(organization, mode):
    settled = usage.settle(a_call(organization, billing_mode=mode))
    assert (settled.cost_usd, settled.billed_usd) == (usd("0.0014"), usd("0"))


def test_an_unknown_price_is_unknown_and_never_zero(organization):
    before = metrics.unpriced_events_total._value.get()
    call = a_call(organization, requested_model="mystery", served_model="mystery")
    settled = usage.settle(call)
    assert settled.cost_usd is None
    assert settled.billed_usd == 0
    assert UsageEvent.objects.get().estimated_cost is None
    assert metrics.unpriced_events_total._value.get() == before


def test_zero_tokens_cost_an_explicit_zero(organization):
    settled = usage.settle(
        a_call(organization, tokens=tokens(), status=429, outcome=Outcome.PROVIDER_ERROR)
    )
    assert settled.cost_usd == 0
    assert UsageEvent.objects.get().lines == []


def test_a_server_that_renames_the_model_is_priced_by_the_name_asked_for(organization):
    usage.settle(a_call(organization, served_model="/models/weights.bin"))
    event = UsageEvent.objects.get()
    assert (event.model, event.estimated_cost) == ("sim-echo", usd("0.0014"))
    assert event.served_model == "/models/weights.bin"


def test_a_provider_request_id_that_repeats_loses_its_label_not_the_event(organization):
    calls = [a_call(organization, provider_request_id="chatcmpl-1") for _ in range(3)]
    answers = usage.settle_many(calls)
    assert all(isinstance(answer, Settlement) for answer in answers)
    assert sorted(UsageEvent.objects.values_list("provider_request_id", flat=True)) == [
        "",
        "",
        "chatcmpl-1",
    ]
    assert all(usage.settle(call).already_settled for call in calls)


def test_labels_that_a_server_chose_never_lose_the_fact(organization):
    call = a_call(
        organization,
        served_model="x\0" + "m" * 500,
        provider_request_id="\0",
        service_tier="t" * 90,
    )
    usage.settle(call)
    event = UsageEvent.objects.get()
    assert event.served_model == ("x" + "m" * 199)
    assert (event.provider_request_id, event.service_tier) == ("", "t" * 30)


def test_a_call_keeps_the_price_of_its_dispatch(db):
    publish(a_list(model_a="0.000001"))
    organization = an_organization()
    early = a_call(organization, provider_type="openai", requested_model="model-a", served_model="")
    usage.settle(early)
    publish(a_list(model_a="0.0000012"))
    late = replace(early, request_id=ids.new())
    now = replace(early, request_id=ids.new(), occurred_at=NOON + timedelta(days=36_500))
    assert usage.settle(late).cost_usd == usd("0.0012")
    assert usage.settle(now).cost_usd == usd("0.00144")
    assert usage.settle(early).cost_usd == usd("0.0012")


def test_a_purged_workspace_leaves_the_event_without_the_link(organization):
    gone = ids.new()
    usage.settle(a_call(organization, workspace_id=gone, user_id=gone))
    event = UsageEvent.objects.get()
    assert (event.workspace_id, event.user_id) == (None, None)


def test_a_user_and_a_workspace_may_leave_an_event_and_never_come_back(organization):
    workspace, user = a_workspace(), a_user()
    usage.settle(a_call(organization, workspace_id=workspace.pk, user_id=user.pk))
    UsageEvent.objects.update(user=None)
    UsageEvent.objects.update(workspace=None)
    event = UsageEvent.objects.get()
    assert (event.workspace_id, event.user_id, event.tokens_input) == (None, None, 1_000)
    with pytest.raises(IntegrityError, match="refused"), transaction.atomic():
        UsageEvent.objects.update(user=user)
    assert UsageEvent.objects.get().user_id is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE usage_events SET billed_cost = 0",
        "UPDATE usage_events SET user_id = NULL, tokens_input = 1",
        "UPDATE usage_events SET commit_xid = '1'",
        "UPDATE usage_events SET lines = '[]'",
        "DELETE FROM usage_events",
        "TRUNCATE usage_events CASCADE",
    ],
)
def test_a_usage_event_never_changes(organization, statement):
    usage.settle(a_call(organization))
    before = list(UsageEvent.objects.values())
    # TRUNCATE would be refused for the pending foreign key checks alone.
    connection.check_constraints()
    with (
        pytest.raises(IntegrityError, match="refused"),
        transaction.atomic(),
        connection.cursor() as c,
    ):
        c.execute(statement)
    assert list(UsageEvent.objects.values()) == before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("billed_cost", "-1"),
        ("estimated_cost", "-1"),
        ("tokens_input", "-1"),
        ("tokens_cache_read", "2000"),
        ("tokens_reasoning", "2000"),
        ("outcome", "'fine'"),
        ("billing_mode", "'byok'"),
    ],
)
def test_the_database_refuses_impossible_events(organization, column, value):
    usage.settle(a_call(organization))
    fields = UsageEvent._meta.concrete_fields
    columns = [str(field.column) for field in fields if field.name != "created_at"]
    values = [
        {column: value, "id": "gen_random_uuid()", "request_id": "gen_random_uuid()"}.get(c, c)
        for c in columns
    ]
    statement = (
        f"INSERT INTO usage_events ({', '.join(columns)}) "
        f"SELECT {', '.join(values)} FROM usage_events"
    )
    with (
        pytest.raises(IntegrityError, match="check constraint"),
        transaction.atomic(),
        connection.cursor() as c,
    ):
        c.execute(statement)
    assert UsageEvent.objects.count() == 1


def test_threads_that_settle_one_call_write_one_event(committed_db):
    publish(SIMULATOR)
    calls = [a_call(an_organization(), provider_request_id=f"r{n}") for n in range(6)]
    start = threading.Barrier(8)

    def settle_all(order):
        start.wait()
        try:
            turned = calls[order % 6 :] + calls[: order % 6]
            return [*usage.settle_many(turned[:3]), *(usage.settle(call) for call in turned[3:])]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = [one for many in pool.map(settle_all, range(8)) for one in many]
    assert UsageEvent.objects.count() == 6
    assert Fact.objects.filter(topic="usage.settled").count() <= 6
    assert sum(not answer.already_settled for answer in answers) == 6
    assert {answer.cost_usd for answer in answers} == {usd("0.0014")}


def test_metrics_count_what_committed_once(committed_db):
    publish(SIMULATOR)
    counters = [
        metrics.llm_tokens_total.labels(provider="anthropic", type="output"),
        metrics.llm_cost_total.labels(provider="anthropic"),
        metrics.unpriced_events_total,
    ]
    before = [counter._value.get() for counter in counters]
    organization = an_organization()
    call = a_call(organization, provider_type="anthropic")
    usage.settle_many([call, call, replace(call, attempt=2, served_model="?", requested_model="?")])
    grown = [counter._value.get() - was for counter, was in zip(counters, before, strict=True)]
    assert grown == [400, pytest.approx(0.0014), 1]


def test_a_card_is_written_and_replaced(db):
    organization = an_organization()
    for name, deleted_at in (("Ours", None), ("Ours, renamed", NOON)):
        cards.write(
            provider_id=PROVIDER,
            organization_id=organization.pk,
            owner_id=None,
            provider_type="openai",
            name=name,
            billing_mode=BillingMode.BYOK,
            deleted_at=deleted_at,
        )
    card = ProviderCard.objects.get()
    assert (card.name, card.deleted_at, card.billing_mode) == ("Ours, renamed", NOON, "byok")
