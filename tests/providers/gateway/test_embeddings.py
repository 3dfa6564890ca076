"""Vectors: of texts and of tokens, as numbers and as base64."""

from __future__ import annotations

import base64
import struct

import pytest

from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door


def test_the_sdk_reads_the_same_vectors_in_both_formats(door: Door):
    a_provider()
    client = door.openai.embeddings
    whole = client.create(model="sim-embed", input=["one", "two"], encoding_format="float")
    packed = client.create(model="sim-embed", input=["one", "two"])
    assert [row.index for row in whole.data] == [0, 1]
    for left, right in zip(whole.data, packed.data, strict=True):
        assert left.embedding == pytest.approx(right.embedding, abs=1e-6)
    first, second = door.events()
    assert first.operation == "embed"
    assert whole.usage.prompt_tokens == first.tokens_input == second.tokens_input
    assert whole.usage.model_extra is not None
    assert whole.usage.model_extra["cost"] == f"{first.billed_cost:f}"


def test_base64_is_little_endian_floats(door: Door):
    a_provider()
    body = {"model": "sim-embed", "input": "one"}
    numbers = door.send("POST", "/v1/embeddings", body).json()["data"][0]["embedding"]
    told = door.send("POST", "/v1/embeddings", body | {"encoding_format": "base64"}).json()
    raw = base64.b64decode(told["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_are_passed_on(door: Door, tokens: list[object]):
    a_provider("openai")
    reply = door.send("POST", "/v1/embeddings", {"model": "sim-embed", "input": tokens})
    assert reply.status == 200, reply.body
    (sent,) = door.vendor.requests()
    expected = [tokens] if isinstance(tokens[0], int) else tokens
    assert sent["body"]["input"] == expected
    assert len(reply.json()["data"]) == len(expected)


@pytest.mark.parametrize("given", [[], ["a", 1], [["a"]], {}, 5, None, [[]], [-1], ["a"] * 2_049])
def test_inputs_of_another_kind_are_refused(door: Door, given: object):
    a_provider()
    reply = door.send("POST", "/v1/embeddings", {"model": "sim-embed", "input": given})
    assert reply.status == 400
    assert reply.json()["error"]["param"].startswith("input")
    assert door.holds() == set()
