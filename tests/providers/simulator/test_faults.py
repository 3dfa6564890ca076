"""Each scripted fault as it looks on the wire, and what the ledger makes of it."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import openai
import pytest

from tests.providers.simulator.conftest import KEY, openai_client
from tests.waiting import eventually

ASK = {"model": "sim-echo", "stream": True, "messages": [{"role": "user", "content": "go"}]}
FIVE = "um dois três quatro cinco"


async def read(simulator, body=ASK, path="/v1/chat/completions", key=KEY, **headers):
    """(status, headers, network pieces, whether the answer ended properly)."""
    pieces: list[bytes] = []
    names = {"Authorization": f"Bearer {key}", "anthropic-version": "2023-06-01", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(simulator.url + path, json=body, headers=names) as response,
    ):
        try:
            while piece := await response.content.readany():
                pieces.append(piece)
        except aiohttp.ClientPayloadError:
            return response.status, response.headers, pieces, False
        return response.status, response.headers, pieces, True


def texts(data: bytes) -> list[str]:
    """The contents of an OpenAI stream's chunks that carry any."""
    lines = [line[6:] for line in data.splitlines() if line.startswith(b"data: {")]
    chunks = [json.loads(line) for line in lines]
    return [c["choices"][0]["delta"].get("content") for c in chunks if c["choices"]]


async def test_a_cut_stream_ends_without_an_end_and_is_charged_what_was_sent(simulator):
    simulator.script("cut", {"text": FIVE, "cut_after_tokens": 3})
    _, _, pieces, is_whole = await read(simulator, key="sk-simulated:cut")
    assert is_whole is False
    assert texts(b"".join(pieces)) == ["", "um", " dois", " três"]
    (row,) = simulator.ledger()
    assert (row["outcome"], row["tokens"]["output"], row["output_sent"]) == ("cut", 3, 3)
    assert row["tokens"]["input"] == 4
    assert row["usage_told"] is False


async def test_a_cut_charges_scripted_figures_pro_rata(simulator):
    usage = {"input": 1000, "output": 500}
    simulator.script("cut", {"text": FIVE, "cut_after_tokens": 2, "usage": usage})
    await read(simulator, key="sk-simulated:cut")
    (row,) = simulator.ledger()
    assert (row["tokens"]["input"], row["tokens"]["output"]) == (1000, 200)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", ASK),
        ("/v1/responses", {"model": "sim-echo", "stream": True, "input": "go"}),
        ("/v1/messages", {**ASK, "max_tokens": 99}),
        (
            "/v1beta/models/sim-echo:streamGenerateContent?alt=sse",
            {"contents": [{"parts": [{"text": "go"}]}]},
        ),
    ],
)
async def test_every_dialect_can_be_cut_and_charges_alike(simulator, path, body):
    simulator.script("cut", {"text": FIVE, "cut_after_tokens": 4})
    _, _, pieces, is_whole = await read(simulator, body, path, "sk-simulated:cut")
    assert is_whole is False
    assert "quatro" in b"".join(pieces).decode()
    assert "cinco" not in b"".join(pieces).decode()
    assert simulator.ledger()[0]["tokens"]["output"] == 4


async def test_a_cut_whole_answer_is_short_but_charged_in_full(simulator):
    simulator.script("cut", {"text": FIVE, "cut_after_tokens": 0})
    _, headers, pieces, is_whole = await read(
        simulator, {**ASK, "stream": False}, key="sk-simulated:cut"
    )
    assert is_whole is False
    assert len(b"".join(pieces)) == int(headers["Content-Length"]) // 2
    assert simulator.ledger()[0]["tokens"]["output"] == 5


async def test_a_client_that_leaves_is_charged_what_it_was_sent(simulator):
    async with aiohttp.ClientSession() as session:
        body = {**ASK, "messages": [{"role": "user", "content": "[[sim:tokens=500 delay=20]]"}]}
        url = f"{simulator.url}/v1/chat/completions"
        response = await session.post(url, json=body, headers={"Authorization": f"Bearer {KEY}"})
        while b"word3" not in await response.content.readline():
            pass
        response.close()
    row = await asyncio.to_thread(
        eventually, lambda: next(r for r in simulator.ledger() if r["outcome"] != "open")
    )
    assert row["outcome"] == "client_gone"
    assert 3 <= row["tokens"]["output"] == row["output_sent"] < 100


async def test_a_hanging_stream_sends_its_tokens_and_then_nothing(simulator):
    simulator.script("hang", {"text": FIVE, "hang_at": 2})
    async with aiohttp.ClientSession() as session:
        url = f"{simulator.url}/v1/chat/completions"
        headers = {"Authorization": "Bearer sk-simulated:hang"}
        response = await session.post(url, json=ASK, headers=headers)
        while b"dois" not in await response.content.readline():
            pass
        await response.content.readline()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await response.content.readline()
        response.close()
    assert simulator.ledger()[0]["outcome"] == "hung"
    assert simulator.ledger()[0]["tokens"]["output"] == 2


async def test_one_event_is_malformed_and_the_rest_goes_on(simulator):
    simulator.script("broken", {"text": FIVE, "malformed_at": 1})
    _, _, pieces, is_whole = await read(simulator, key="sk-simulated:broken")
    lines = [line for line in b"".join(pieces).splitlines() if line.startswith(b"data: ")]
    assert is_whole is True
    assert lines[2] == b'data: {"malformed": tru'
    assert json.loads(lines[3][6:])["choices"][0]["delta"] == {"content": " três"}
    assert lines[-1] == b"data: [DONE]"


async def test_a_giant_line_is_still_valid_json(simulator):
    simulator.script("giant", {"text": FIVE, "giant_line": 2_000_000})
    _, _, pieces, _ = await read(simulator, key="sk-simulated:giant")
    data = b"".join(pieces)
    assert max(len(line) for line in data.splitlines()) > 2_000_000
    assert texts(data)[1:6] == ["um", " dois", " três", " quatro", " cinco"]


async def test_network_pieces_end_inside_a_character(simulator):
    simulator.script("split", {"text": FIVE, "split_utf8": True})
    _, _, pieces, _ = await read(simulator, key="sk-simulated:split")
    broken = [piece for piece in pieces if piece.decode(errors="ignore").encode() != piece]
    assert len(broken) >= 2  # the head and the tail of the one split character
    assert texts(b"".join(pieces))[1:6] == ["um", " dois", " três", " quatro", " cinco"]


async def test_lines_may_end_in_cr_lf_and_comments_stand_between(simulator):
    simulator.script("odd", {"text": FIVE, "crlf": True, "comments": True})
    _, _, pieces, _ = await read(simulator, key="sk-simulated:odd")
    data = b"".join(pieces)
    assert data.count(b"\n") == data.count(b"\r\n")
    assert data.startswith(b": keep-alive\r\n\r\ndata: {")
    assert texts(data)[1:6] == ["um", " dois", " três", " quatro", " cinco"]


async def test_the_end_marker_can_be_missing(simulator):
    simulator.script("endless", {"text": FIVE, "no_done": True})
    _, _, pieces, is_whole = await read(simulator, key="sk-simulated:endless")
    assert is_whole is True
    assert b"[DONE]" not in b"".join(pieces)
    body = {**ASK, "max_tokens": 99}
    _, _, pieces, _ = await read(simulator, body, "/v1/messages", "sk-simulated:endless")
    assert b"message_delta" in b"".join(pieces)
    assert b"message_stop" not in b"".join(pieces)


def test_cumulative_usage_is_repeated_with_every_token(simulator):
    simulator.script("repeats", {"text": FIVE, "cumulative_usage": True})
    stream = openai_client(simulator, "sk-simulated:repeats").chat.completions.create(**ASK)
    told = [chunk.usage.completion_tokens for chunk in stream]
    assert told == [0, 1, 2, 3, 4, 5, 5]


async def test_a_lie_is_told_but_never_charged(simulator):
    lie = {"input": 1, "output": 1}
    simulator.script("liar", {"text": FIVE, "reported": lie})
    _, _, pieces, _ = await read(simulator, {**ASK, "stream": False}, key="sk-simulated:liar")
    assert json.loads(b"".join(pieces))["usage"]["completion_tokens"] == 1
    assert simulator.ledger()[0]["tokens"]["output"] == 5


async def test_a_raw_usage_object_is_told_verbatim(simulator):
    raw = {"prompt_tokens": 7, "completion_tokens": 9, "mystery_tokens": 3}
    simulator.script("raw", {"text": FIVE, "raw_usage": raw})
    _, _, pieces, _ = await read(simulator, {**ASK, "stream": False}, key="sk-simulated:raw")
    assert json.loads(b"".join(pieces))["usage"] == raw


async def test_no_usage_at_all(simulator):
    simulator.script("silent", {"text": FIVE, "no_usage": True})
    body = {**ASK, "stream_options": {"include_usage": True}}
    _, _, pieces, _ = await read(simulator, body, key="sk-simulated:silent")
    assert b'"usage":{' not in b"".join(pieces)
    assert simulator.ledger()[0]["tokens"]["output"] == 5


async def test_a_status_comes_with_the_vendors_envelope_and_retry_after(simulator):
    simulator.script("busy", {"status": 429, "retry_after": 1.5, "message": "slow down"})
    status, headers, pieces, _ = await read(simulator, key="sk-simulated:busy")
    assert (status, headers["Retry-After"]) == (429, "1.5")
    error = json.loads(b"".join(pieces))["error"]
    assert (error["code"], error["message"]) == ("rate_limit_exceeded", "slow down")
    body = {**ASK, "max_tokens": 99}
    simulator.script("busy", {"status": 529})
    status, _, pieces, _ = await read(simulator, body, "/v1/messages", "sk-simulated:busy")
    assert (status, json.loads(b"".join(pieces))["error"]["type"]) == (529, "overloaded_error")


async def test_an_error_inside_a_response_stream_keeps_the_numbering(simulator):
    simulator.script("fails", {"text": FIVE, "error_at": 2})
    body = {"model": "sim-echo", "stream": True, "input": "go"}
    _, _, pieces, _ = await read(simulator, body, "/v1/responses", "sk-simulated:fails")
    lines = [line for line in b"".join(pieces).splitlines() if line.startswith(b"data: ")]
    events = [json.loads(line[6:]) for line in lines]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "overloaded"


async def test_delays_are_kept(simulator):
    simulator.script("slow", {"text": FIVE, "first_delay_ms": 80, "token_delay_ms": 30})
    started = time.monotonic()
    await read(simulator, key="sk-simulated:slow")
    assert 0.2 <= time.monotonic() - started < 1.0  # 80 ms and four gaps of 30 ms


def test_an_unfinished_tool_call_is_broken_json(simulator):
    simulator.script("half", {"tool_calls": [{"name": "f", "arguments": '{"path": "a'}]})
    answer = openai_client(simulator, "sk-simulated:half").chat.completions.create(
        **{**ASK, "stream": False}
    )
    assert answer.choices[0].message.tool_calls[0].function.arguments == '{"path": "a'


async def test_bad_bodies_are_refused_in_words_and_never_with_a_500(simulator):
    bodies = [b"", b"[]", b"{", b'"x"', b"[" * 100_000, b'{"model": 5}', b'{"model": "sim-echo"}']
    async with aiohttp.ClientSession() as session:
        for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings",
                     "/v1beta/models/sim-echo:generateContent"):  # fmt: skip
            for body in bodies:
                headers = {"Authorization": f"Bearer {KEY}"}
                response = await session.post(simulator.url + path, data=body, headers=headers)
                assert response.status == 400, (path, body[:20])
                assert (await response.json())["error"]["message"]
    assert {row["outcome"] for row in simulator.ledger()} == {"refused"}


def test_the_sdk_retries_what_is_scripted_before_and_then_succeeds(simulator):
    simulator.script(
        "flaky", {"before": [{"status": 429, "retry_after": 0}, {"status": 500}], "text": "works"}
    )
    client = openai_client(simulator, "sk-simulated:flaky", retries=2)
    answer = client.chat.completions.create(
        **{**ASK, "stream": False}, extra_headers={"x-request-id": "r-1"}
    )
    assert answer.choices[0].message.content == "works"
    rows = simulator.ledger(request_id="r-1")
    assert [(row["status"], row["dispatch"]) for row in rows] == [(429, 1), (500, 2), (200, 3)]
    assert [row["outcome"] for row in rows] == ["refused", "refused", "complete"]


def test_a_refusal_that_is_not_retried_reaches_the_caller(simulator):
    simulator.script("flaky", {"before": [{"status": 503}], "text": "works"})
    client = openai_client(simulator, "sk-simulated:flaky")
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**{**ASK, "stream": False})
