"""What the gateway reserves, cuts off and bills, to the last decimal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from billing.models import Hold
from billing.services import customers, verification
from tests.billing.funds import money_of, take
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message, price_of
from tests.waiting import eventually

CHAT = "/v1/chat/completions"


def _leave(door: Door, amount: str) -> None:
    """Leave the person exactly `amount`, of the welcome credit of 5 USD."""
    customers.ensure([door.organization.pk])
    take(door.organization, 5 - Decimal(amount))


def _nothing_is_held(door: Door) -> None:
    eventually(lambda: money_of(door.organization)[2] == 0)
    assert verification.breaches() == []


def test_no_money_means_402_and_nothing_leaves(door: Door):
    a_provider()
    _leave(door, "0.00001")
    reply = door.send("POST", CHAT, a_chat(max_tokens=10))
    assert reply.status == 402
    assert reply.json()["error"]["type"] == "insufficient_quota"
    assert reply.json()["error"]["code"] == "insufficient_credits"
    assert reply.headers["x-should-retry"] == "false"
    message = door.send("POST", "/v1/messages", a_message())
    assert (message.status, message.json()["error"]["type"]) == (402, "billing_error")
    assert door.vendor.ledger() == []
    assert door.events() == []
    _nothing_is_held(door)


def test_the_last_cent_decides(door: Door):
    a_provider()
    body = a_chat(max_tokens=1_000)
    assert door.send("POST", CHAT, body).status == 200
    needed = Hold.objects.get().amount
    (first,) = door.events()
    left = 5 - first.billed_cost
    take(door.organization, left - needed + Decimal("0.000000000001"))
    assert door.send("POST", CHAT, body).status == 402
    assert len(door.events()) == 1


def test_of_many_at_once_exactly_those_pass_that_the_money_covers(door: Door):
    a_provider()
    body = a_chat("[[sim:tokens=5 first=400]]", max_tokens=1_000)
    assert door.send("POST", CHAT, body).status == 200
    needed = Hold.objects.get().amount
    (first,) = door.events()
    take(door.organization, 5 - first.billed_cost - 4 * needed - needed / 2)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: door.send("POST", CHAT, body).status, range(16)))
    assert (statuses.count(200), statuses.count(402)) == (4, 12)
    assert len(door.events()) == 5
    _nothing_is_held(door)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("openai", CHAT),
        ("anthropic", CHAT),
        ("anthropic", "/v1/messages"),
        ("google", "/v1/messages"),
    ],
)
def test_an_answer_that_outruns_the_wallet_is_cut_off_in_order(door: Door, kind: str, path: str):
    a_provider(kind)
    door.vendor.script("long", {"text": "word " * 20_000, "ignores_max_tokens": True})
    _leave(door, "0.02")
    body = a_chat("[[sim:long]]", stream=True) if path == CHAT else a_message("[[sim:long]]")
    if path != CHAT:
        body |= {"max_tokens": 4_000, "stream": True}
    reply = door.send("POST", path, body)
    assert reply.status == 200
    events = reply.events()
    stops = [
        stop
        for event in events
        for stop in (
            event.get("delta", {}).get("stop_reason"),
            *(choice.get("finish_reason") for choice in event.get("choices", ())),
        )
        if stop
    ]
    assert stops == (["length"] if path == CHAT else ["max_tokens"])
    assert any(event.get("x_mundial", {}).get("stop") == "budget" for event in events), events[-3:]
    usages = [event["usage"] for event in events if event.get("usage")]
    (event,) = door.events()
    assert usages[-1]["cost"] == f"{event.billed_cost:f}"
    assert event.outcome == "client_cancelled"
    assert event.accuracy == "estimated"
    _nothing_is_held(door)


def test_a_missing_maximum_is_fitted_to_a_short_balance(door: Door):
    a_provider("openai")
    door.vendor.script("words", {"text": "a " * 2_000})
    _leave(door, "0.0015")
    reply = door.send("POST", CHAT, a_chat("[[sim:words]]", stream=True))
    assert reply.status == 200, reply.body
    # 512 tokens at 2 millionths of a dollar and the input fit into 0.0015 USD, 1024 do not.
    assert reply.headers["x-mundial-max-output"] == "512"
    (sent,) = door.vendor.requests()
    assert sent["body"]["max_completion_tokens"] == 512
    (event,) = door.events()
    assert (event.tokens_output, event.outcome) == (512, "ok")
    stops = [c["finish_reason"] for e in reply.events() for c in e["choices"]]
    assert stops[-1] == "length"
    _nothing_is_held(door)


def test_less_than_the_smallest_slice_is_refused(door: Door):
    a_provider("openai")
    _leave(door, "0.0004")
    assert door.send("POST", CHAT, a_chat()).status == 402
    assert door.vendor.ledger() == []
    _nothing_is_held(door)


def test_whole_answers_that_outrun_the_wallet_end_in_order_too(door: Door):
    a_provider()
    door.vendor.script("long", {"text": "word " * 20_000, "ignores_max_tokens": True})
    _leave(door, "0.02")
    reply = door.send("POST", CHAT, a_chat("[[sim:long]]"))
    assert reply.status == 200, reply.body
    assert reply.json()["choices"][0]["finish_reason"] == "length"
    assert reply.json()["x_mundial"]["stop"] == "budget"


def test_the_bill_is_the_vendor_s_ledger(door: Door):
    a_provider("openai", priority=2)
    a_provider("anthropic", priority=1)
    for number in range(4):
        stream = bool(number % 2)
        prompt = f"[[sim:tokens={10 + number}]]"
        assert door.send("POST", CHAT, a_chat(prompt, stream=stream)).status == 200
        message = a_message(prompt, stream=stream)
        assert door.send("POST", "/v1/messages", message).status == 200
    rows = {row["request_id"]: row["tokens"] for row in door.vendor.ledger()}
    events = door.events()
    assert len(events) == len(rows) == 8
    for event in events:
        told = rows[str(event.request_id)]
        assert (event.tokens_input, event.tokens_output) == (told["input"], told["output"])
        assert event.billed_cost == price_of(event)
    paid = sum(event.billed_cost for event in events)
    assert money_of(door.organization)[1] == 5 - paid
    _nothing_is_held(door)
