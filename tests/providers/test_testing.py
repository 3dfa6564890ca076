"""The live test that also generates: one call like any other."""

from __future__ import annotations

import json
import urllib.request

from accounts.services import sessions
from billing.models import UsageEvent
from tests.factories import a_user
from tests.providers.builders import KEY, base_url
from tests.providers.rest import Caller


def _created(caller, **values):
    kind = values.get("type", "openai_compatible")
    form = {"name": "Mine", "type": kind, "config": {"base_url": base_url(kind)}, "api_key": KEY}
    return caller.send("POST", "", form | values).json()


def test_a_generating_test_is_one_metered_call(paid_door):
    caller = Caller(a_user())
    body = _created(caller)
    report = caller.send("POST", f"/{body['id']}/test", {"generate": True, "model": "sim-echo"})
    assert report.json()["ok"], report.content
    assert report.json()["first_token_ms"] >= 0
    event = UsageEvent.objects.get(provider_id=body["id"])
    assert (event.tokens_output, event.billed_cost, event.billing_mode) == (1, 0, "byok")
    (row,) = paid_door.ledger()
    assert row["request_id"] == str(event.request_id)


def test_a_generating_test_that_fails_says_why_and_is_metered_too(paid_door):
    caller = Caller(a_user())
    paid_door.script("broke", {"status": 402})
    body = _created(caller, api_key="sk-some-account-1234:broke")
    report = caller.send("POST", f"/{body['id']}/test", {"generate": True, "model": "sim-echo"})
    assert report.json()["failure"]["code"] == "no_credit"
    event = UsageEvent.objects.get(provider_id=body["id"])
    assert (event.status, event.tokens_output) == (402, 0)


def test_the_live_test_works_behind_the_real_server(simulator, live_web):
    pair = sessions.sign_in(user=a_user(), ip="", user_agent="test")
    form = {"name": "Mine", "type": "anthropic", "config": {"base_url": base_url("anthropic")}}
    request = urllib.request.Request(
        f"{live_web.url}/api/v1/providers/test",
        json.dumps(form | {"api_key": KEY}).encode(),
        {"Authorization": f"Bearer {pair.access}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.load(answer)["ok"]
