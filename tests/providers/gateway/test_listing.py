"""The models a caller may name, in both shapes, and what their names mean."""

from __future__ import annotations

import pytest

from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message

ANTHROPIC = {"anthropic-version": "2023-06-01"}


def test_openai_s_list_and_entries(door: Door):
    row = a_provider(slug="vendor")
    names = [model.id for model in door.openai.models.list()]
    assert {"sim-echo", "sim-coder", "sim-embed", "default/code"} <= set(names)
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("anthropic/")]
    one = door.openai.models.retrieve("sim-echo")
    assert (one.object, one.owned_by) == ("model", row.slug)


def test_a_second_account_s_model_is_named_with_its_slug(door: Door):
    a_provider(slug="first", priority=5)
    a_provider(slug="second")
    names = [model.id for model in door.openai.models.list()]
    assert "second/sim-echo" in names
    assert "first/sim-echo" not in names


def test_a_model_is_found_by_its_account_and_name_in_both_shapes(door: Door):
    row = a_provider(slug="vendor")
    one = door.openai.models.retrieve("vendor/sim-echo")
    assert (one.id, one.owned_by) == ("vendor/sim-echo", row.slug)
    assert door.anthropic.models.retrieve("anthropic/vendor/sim-echo").display_name == "sim-echo"


@pytest.mark.parametrize(
    "name", ["default/code", "default%2Fcode", "anthropic/sim-echo", "anthropic%2Fsim-echo"]
)
def test_slashes_of_a_name_may_be_escaped(door: Door, name: str):
    a_provider()
    reply = door.send("GET", f"/v1/models/{name}")
    assert reply.status == 200, reply.body
    assert reply.json()["id"] == name.replace("%2F", "/")


def test_anthropic_s_shape_has_limits_capabilities_and_twins(door: Door):
    a_provider(models=("sim-echo", "claude-sonnet-5"), kind="anthropic")
    headers = {"x-api-key": door.key} | ANTHROPIC
    rows = door.send("GET", "/v1/models?limit=1000", headers=headers).json()
    entries = {row["id"]: row for row in rows["data"]}
    assert {"sim-echo", "anthropic/sim-echo", "claude-sonnet-5"} <= entries.keys()
    assert "anthropic/claude-sonnet-5" not in entries
    echo = entries["anthropic/sim-echo"]
    assert (echo["max_input_tokens"], echo["max_tokens"]) == (200_000, 200_000)
    assert set(echo["capabilities"]["thinking"]["types"]) == {"adaptive", "enabled"}
    assert isinstance(echo["capabilities"]["effort"]["high"]["supported"], bool)
    assert rows["has_more"] is False
    ids = [model.id for model in door.anthropic.models.list(limit=2)]
    assert sorted(ids) == sorted(entries)


def test_a_twin_is_called_without_its_prefix(door: Door):
    a_provider()
    reply = door.send("POST", "/v1/messages", a_message(model="anthropic/sim-echo"))
    assert reply.status == 200, reply.body
    (row,) = door.vendor.ledger()
    assert row["model"] == "sim-echo"
    alias = door.send("POST", "/v1/messages", a_message(model="anthropic/default/universal"))
    assert alias.status == 200, alias.body


def test_a_comma_is_an_ordinary_character(door: Door):
    a_provider()
    reply = door.send("POST", "/v1/chat/completions", a_chat(model="sim-echo,sim-coder"))
    assert reply.status == 404
    assert reply.json()["error"]["code"] == "model_not_found"
    a_provider(models=("odd,name",), billing_mode="free")
    assert "odd,name" in [model.id for model in door.openai.models.list()]
    assert door.send("GET", "/v1/models/odd,name").json()["id"] == "odd,name"


def test_an_unknown_model_is_not_found_in_both_shapes(door: Door):
    ours = door.send("GET", "/v1/models/nothing")
    assert (ours.status, ours.json()["error"]["code"]) == (404, "model_not_found")
    theirs = door.send("GET", "/v1/models/nothing", headers={"x-api-key": door.key} | ANTHROPIC)
    assert theirs.json()["error"]["type"] == "not_found_error"


def test_tokens_are_counted_by_the_vendor_or_estimated_and_never_billed(door: Door):
    a_provider("anthropic", models=("sim-echo",))
    counted = door.anthropic.messages.count_tokens(
        model="sim-echo", messages=[{"role": "user", "content": "hello there"}]
    )
    paid = door.send("POST", "/v1/messages", a_message())
    assert counted.input_tokens == paid.json()["usage"]["input_tokens"]
    assert len(door.events()) == 1


def test_tokens_are_estimated_where_the_vendor_does_not_count(door: Door):
    a_provider("openai_compatible")
    body = {"model": "sim-echo", "messages": [{"role": "user", "content": "x" * 1_000}]}
    reply = door.send("POST", "/v1/messages/count_tokens", body)
    assert 250 <= reply.json()["input_tokens"] <= 350
    assert door.events() == []
    assert door.vendor.ledger() == []
