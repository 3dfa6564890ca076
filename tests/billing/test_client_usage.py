"""`POST /api/v1/billing/usage`: what an IDE reports of calls with its own vendor key."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.models import ApiKey, Organization
from accounts.types import Permission
from billing.models import (
    LedgerEntry,
    LedgerTxn,
    UsageEvent,
    UsageReport,
)
from billing.services import holds, usage, verification
from billing.types import BillingMode
from ideplatform.kit import clock, ids, throttle
from tests.billing.calls import SIMULATOR, publish, usd
from tests.billing.funds import a_reservation, the_call
from tests.billing.reporting import USAGE, a_card, by_key, everything
from tests.factories import (
    a_user,
    a_workspace,
    an_organization,
)
from tests.house import matrix
from tests.house.matrix import Route
from tests.providers.builders import the_platform

P = Permission


def _a_workspaces_provider(world):
    publish(SIMULATOR)
    card = a_card(world.organization, workspace_id=world.workspace.pk)
    return {"provider_id": str(card.pk), "request_id": str(ids.new())}


def _an_organizations_provider(world):
    publish(SIMULATOR)
    card = a_card(world.organization)
    return {"provider_id": str(card.pk), "request_id": str(ids.new())}


BODY = {
    "request_id": "{request_id}",
    "provider_id": "{provider_id}",
    "model": "sim-echo",
    "tokens_input": 10,
    "tokens_output": 2,
    "status": 200,
}
ROUTES = [
    Route("POST", USAGE, P.USAGE_REPORT, body=BODY, prepare=_a_workspaces_provider),
    Route(
        "POST",
        USAGE,
        P.USAGE_REPORT,
        at="organization",
        body=BODY,
        prepare=_an_organizations_provider,
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=["workspace", "organization"])
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


def test_a_call_is_priced_by_us_billed_nothing_and_moves_no_money(house):
    moved = LedgerTxn.objects.count(), LedgerEntry.objects.count()
    answer = house.post(
        house.body(
            workspace_id=str(house.workspace.pk),
            tokens_cache_read=400,
            tokens_reasoning=50,
            agent_id="ide/coder",
            provider_request_id="vendor-1",
            raw_usage={"prompt_tokens": 1_000},
        )
    )
    assert answer.status_code == 201, answer.content
    told = answer.json()
    by_hand = 600 * usd("0.000001") + 400 * usd("0.0000001") + 200 * usd("0.000002")
    assert usd(told["estimated_cost"]) == by_hand
    assert (told["source"], told["billing_mode"]) == ("client", "byok")
    assert usd(told["billed_cost"]) == 0
    assert told["quantities"] == {
        "input": 600,
        "cache_read": 400,
        "output": 150,
        "output_reasoning": 50,
    }
    row = UsageEvent.objects.get(pk=told["id"])
    assert (row.user_id, row.customer_id) == (house.editor.pk, house.team.pk)
    assert (row.txn_id, row.hold_id, row.outcome, row.accuracy) == (None, None, "ok", "exact")
    assert UsageReport.objects.get(pk=row.pk).raw_usage == {"prompt_tokens": 1_000}
    assert (LedgerTxn.objects.count(), LedgerEntry.objects.count()) == moved
    assert verification.breaches() == []


def test_the_same_report_again_is_answered_with_its_event(house):
    body = house.body()
    first, again = house.post(body), house.post(body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert UsageEvent.objects.count() == 1


def test_another_report_of_the_same_request_is_refused(house):
    body = house.body()
    house.post(body)
    before = everything()
    answer = house.post(body | {"tokens_output": 201})
    assert (answer.status_code, answer.json()["code"]) == (409, "payload_mismatch")
    assert everything() == before


def test_a_second_attempt_is_a_call_of_its_own(house):
    body = house.body()
    first, second = house.post(body), house.post(body | {"attempt": 2})
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (304, "ok"),
        (499, "client_cancelled"),
        (0, "timeout"),
        (429, "provider_error"),
        (500, "provider_error"),
    ],
)
def test_how_a_call_ended_follows_from_its_status(house, status, outcome):
    assert house.post(house.body(status=status)).json()["outcome"] == outcome


def test_a_model_without_a_price_is_stored_as_such(house):
    told = house.post(house.body(model="their-own")).json()
    assert (told["estimated_cost"], told["billed_cost"]) == (None, "0.000000000000")


def test_a_model_that_embeds_writes_nothing(house):
    told = house.post(house.body(model="sim-embed", tokens_output=0)).json()
    assert usd(told["estimated_cost"]) == 1_000 * usd("0.00000002")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cost": "1"}, "/cost"),
        ({"estimated_cost": "1"}, "/estimated_cost"),
        ({"billed_cost": "0"}, "/billed_cost"),
        ({"customer_id": str(ids.new())}, "/customer_id"),
        ({"organization_id": str(ids.new())}, "/organization_id"),
        ({"user_id": str(ids.new())}, "/user_id"),
        ({"colour": 1}, "/colour"),
        ({"tokens_input": -1}, "/tokens_input"),
        ({"tokens_input": 10_000_001}, "/tokens_input"),
        ({"tokens_input": "1000"}, "/tokens_input"),
        ({"tokens_input": True}, "/tokens_input"),
        ({"tokens_input": 1000.0}, "/tokens_input"),
        ({"tokens_input": None}, "/tokens_input"),
        ({"tokens_cache_read": 600, "tokens_cache_write": 401}, "/tokens_input"),
        ({"tokens_reasoning": 201}, "/tokens_output"),
        ({"status": 600}, "/status"),
        ({"attempt": 0}, "/attempt"),
        ({"model": ""}, "/model"),
        ({"model": 7}, "/model"),
        ({"model": "m" * 201}, "/model"),
        ({"agent_id": "a" * 101}, "/agent_id"),
        ({"request_id": "1"}, "/request_id"),
        ({"request_id": 1}, "/request_id"),
        ({"occurred_at": 1}, "/occurred_at"),
        ({"occurred_at": "yesterday"}, "/occurred_at"),
        ({"raw_usage": [1]}, "/raw_usage"),
        ({"raw_usage": {"x": "y" * 16_384}}, "/raw_usage"),
    ],
)
def test_a_wrong_field_is_named(house, change, pointer):
    before = everything()
    answer = house.post(house.body(**change))
    assert answer.status_code == 422, answer.content
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert everything() == before


@pytest.mark.parametrize(
    ("ago", "status"),
    [
        (timedelta(days=6, hours=23), 201),
        (timedelta(days=7, minutes=1), 422),
        (timedelta(minutes=-4), 201),
        (timedelta(minutes=-6), 422),
    ],
)
def test_a_call_is_of_the_last_week(house, ago, status):
    moment = clock.now() - ago
    answer = house.post(house.body(occurred_at=moment.isoformat()))
    assert answer.status_code == status, answer.content
    assert UsageEvent.objects.filter(occurred_at=moment).count() == (status == 201)


def test_what_the_platform_pays_for_is_counted_by_the_platform(house):
    platforms = a_card(the_platform(), billing_mode=BillingMode.PLATFORM)
    paid = a_card(house.team, billing_mode=BillingMode.PLATFORM)
    free = a_card(house.team, billing_mode=BillingMode.FREE)
    before = everything()
    for card in (platforms, paid, free):
        answer = house.post(house.body(provider_id=str(card.pk)))
        assert answer.status_code == 403
        assert answer.json()["code"] == "platform_usage_is_metered_by_server"
    assert everything() == before


def test_a_foreign_provider_or_workspace_is_not_found(house):
    elsewhere = an_organization(a_user())
    gone = a_card(house.team, deleted_at=clock.now())
    theirs = a_workspace(a_user(), organization=elsewhere)
    before = everything()
    for change in (
        {"provider_id": str(a_card(elsewhere).pk)},
        {"provider_id": str(ids.new())},
        {"provider_id": str(gone.pk)},
        {"workspace_id": str(theirs.pk)},
        {"workspace_id": str(ids.new())},
    ):
        assert house.post(house.body(**change)).status_code == 404
    assert everything()["usage_events"] == before["usage_events"]


def test_a_persons_own_account_serves_every_workspace_they_work_in(house):
    personal = Organization.objects.get(personal_user=house.editor)
    mine = a_card(personal, owner_id=house.editor.pk)
    here = house.post(
        house.body(provider_id=str(mine.pk), workspace_id=str(house.workspace.pk))
    ).json()
    alone = house.post(house.body(provider_id=str(mine.pk))).json()
    assert here["organization_id"] == str(house.team.pk)
    assert alone["organization_id"] == str(personal.pk)


def test_an_account_of_one_workspace_does_not_serve_another(house):
    other = a_workspace(house.editor, organization=house.team)
    card = a_card(house.team, workspace_id=house.workspace.pk)
    answer = house.post(house.body(provider_id=str(card.pk), workspace_id=str(other.pk)))
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/workspace_id"]


def test_a_key_needs_the_scope(house):
    body = house.body()
    without = by_key(house.team, house.editor, ["billing:read", "gateway:call"])
    refused = house.post(body, without)
    assert (refused.status_code, UsageEvent.objects.count()) == (403, 0)
    allowed = house.post(body, by_key(house.team, house.editor, ["usage:report"]))
    assert allowed.status_code == 201
    assert allowed.json()["api_key_id"] == str(ApiKey.objects.get(scopes=["usage:report"]).pk)


def test_a_batch_answers_each_event_by_itself(house):
    known, foreign = house.body(), str(ids.new())
    house.post(known)
    fresh = house.body()
    answer = house.post(
        {
            "events": [
                fresh,
                known,
                known | {"status": 500},
                house.body(provider_id=foreign),
                house.body(cost=1, tokens_input=-1),
                "junk",
                fresh,
            ]
        }
    )
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [one["status"] for one in results] == [201, 200, 409, 404, 422, 422, 200]
    assert results[0]["event"]["id"] == results[6]["event"]["id"]
    assert [fault["pointer"] for fault in results[4]["problem"]["errors"]] == ["/events/4/cost"]
    assert [fault["pointer"] for fault in results[5]["problem"]["errors"]] == ["/events/5"]
    assert UsageEvent.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"events": []}, ["/events"]),
        ({"events": {}}, ["/events"]),
        ({"events": [{}] * 501}, ["/events"]),
        ({"events": [{}], "model": "x"}, ["/model"]),
        ([], [""]),
        ("x", [""]),
        (None, [""]),
    ],
)
def test_a_wrong_envelope_is_refused_whole(house, body, pointers):
    answer = house.post(body)
    assert answer.status_code == 422, answer.content
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers
    assert UsageEvent.objects.count() == 0


def test_the_largest_batch_is_recorded(house):
    answer = house.post({"events": [house.body() for _ in range(500)]})
    assert {one["status"] for one in answer.json()["results"]} == {201}
    assert UsageEvent.objects.count() == 500
    refused = house.post({"events": [house.body() for _ in range(101)]})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 1 <= refused.json()["retry_after_s"] <= 60
    assert house.post({"events": [house.body() for _ in range(100)]}).status_code == 207
    assert house.post(house.body()).status_code == 429
    assert UsageEvent.objects.count() == 600


def test_a_day_has_room_for_fifty_thousand(house):
    throttle.take(throttle.of_user(throttle.USAGE_REPORT_DAY, house.editor.pk, cost=49_999))
    assert house.post(house.body()).status_code == 201
    refused = house.post(house.body())
    assert refused.status_code == 429
    assert 86_000 < refused.json()["retry_after_s"] <= 86_400


def test_a_report_cannot_end_what_the_platform_reserved(house):
    held = a_reservation(house.team, "0.01", user_id=house.editor.pk)
    holds.reserve(held)
    before = everything()
    for attempt in (1, 2):
        body = house.body(request_id=str(held.request_id), attempt=attempt)
        answer = house.post(body)
        assert (answer.status_code, answer.json()["code"]) == (409, "payload_mismatch")
    assert everything() == before
    settled = usage.settle(the_call(held))
    assert settled.billed_usd == usd("0.0014")
    answer = house.post(house.body(request_id=str(held.request_id), attempt=3))
    assert answer.status_code == 409
