"""Requests and answers of `responses` clients, judged by OpenAI's own types and accumulator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args
from uuid import uuid4

import openai
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from providers.gateway.dialects import responses
from providers.gateway.dialects.answers import Collector
from providers.gateway.dialects.contract import Asked, Opening
from providers.types import Chunk, Started, Stop, StopReason, Usage
from tests.providers.gateway.dialects.vendors import CONTEXT, a_usage, events, written

_ANY: Any = ResponseStreamEvent
_KINDS: dict[str, Any] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
}
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}


def asked(*, raw: bytes | None = None, **members: Any) -> Any:
    """A request as the gateway reads it: an `Asked`, whose parts tests know without asking."""
    body = raw if raw is not None else json.dumps({"model": "m", "input": "hi"} | members).encode()
    return responses.read(body, headers={}, request_id=uuid4(), context=CONTEXT)


def opening(request: Asked | None = None) -> Opening:
    return Opening(
        answer_id="resp_1",
        model="default/code",
        created_s=1_700_000_000,
        asked=request or asked(),
    )


def streamed(chunks: Sequence[Chunk], *, request: Asked | None = None, **ending: Any) -> bytes:
    return written(responses.writer(opening(request)), list(chunks), **ending)


def whole(
    chunks: Sequence[Chunk],
    *,
    request: Asked | None = None,
    reason: StopReason = StopReason.END,
    usage: Usage | None = None,
) -> dict[str, Any]:
    """The Response object, accepted by OpenAI's type."""
    collector = Collector()
    for chunk in (Started(model="vendor-model"), *chunks):
        collector.add(chunk)
    answer = collector.answer(usage or a_usage(input=3, output=2), Stop(reason=reason))
    body = responses.render(answer, opening(request))
    Response.model_validate_json(body)
    return dict(json.loads(body))


def judged(stream: bytes) -> list[dict[str, Any]]:
    """The events, each of OpenAI's type, numbered from 0 without a gap, the last one terminal."""
    told = events(stream)
    assert all(name == data["type"] for name, data in told)
    found = [data for _, data in told]
    for data in found:
        _KINDS[data["type"]].model_validate(data)
    assert [data["sequence_number"] for data in found] == list(range(len(found)))
    assert [data["type"] in TERMINAL for data in found] == [False] * (len(found) - 1) + [True]
    return found


def accumulated(stream: bytes) -> Any:
    """What the SDK's accumulator makes of the events before the last one's own object."""
    state: Any = ResponseStreamState(input_tools=openai.omit, text_format=openai.omit)
    snapshot: Any = None
    for data in judged(stream)[:-1]:
        event: Any = construct_type_unchecked(type_=_ANY, value=data)
        state.handle_event(event)
        snapshot = state._ResponseStreamState__current_snapshot  # the SDK shows it nowhere else
    return snapshot


def final(stream: bytes) -> dict[str, Any]:
    """The Response object of the last event."""
    return dict(judged(stream)[-1]["response"])
