"""What OpenAI and its imitations share: both dialects, authorisation, models, embeddings."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from billing.types import TokenCount
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken, Timeouts
from providers.adapters import chat_completions, responses, usage, wire
from providers.adapters.contract import Route
from providers.types import Call, Chunk, EmbedCall, Embeddings, ModelInfo

MAX_EMBEDDING_BYTES = 64 * 1024 * 1024


class _Model(msgspec.Struct):
    id: str
    name: str | None = None
    context_length: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Vector(msgspec.Struct):
    index: int
    embedding: tuple[float, ...]


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    model: str = ""
    usage: dict[str, object] | None = None


def headers(key: Secret | None) -> dict[str, str]:
    """Keyless servers get no header at all."""
    return {"Authorization": f"Bearer {key.reveal()}"} if key is not None else {}


async def stream(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts, *, is_openai: bool
) -> AsyncGenerator[Chunk, None]:
    """The answer in the dialect that the account's configuration chooses."""
    uses_responses = route.config.api == "responses"
    if uses_responses:
        path, body = "/responses", responses.body(call, model=route.model)
    else:
        path = "/chat/completions"
        body = chat_completions.body(call, model=route.model, is_openai=is_openai)
    async with wire.exchange(
        "POST",
        route,
        path,
        headers=wire.tagged(call, headers(key)),
        timeouts=timeouts,
        body=body,
    ) as response:
        read = responses.read if uses_responses else chat_completions.read
        async for chunk in read(response):
            yield chunk


async def count_tokens(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts
) -> int | None:
    """None: this dialect has no counting call."""
    del call, route, key, timeouts
    return None


async def list_models(route: Route, key: Secret | None, timeouts: Timeouts) -> list[ModelInfo]:
    answer = await wire.fetch(
        "GET", route, "/models", headers=headers(key), timeouts=timeouts, kind=_Models
    )
    return [
        ModelInfo(id=model.id, display_name=model.name or "", context_tokens=model.context_length)
        for model in answer.data
    ]


async def embed(
    call: EmbedCall, route: Route, key: Secret | None, timeouts: Timeouts
) -> Embeddings:
    body: dict[str, object] = {"model": route.model, "input": call.inputs}
    if call.dimensions is not None:
        body["dimensions"] = call.dimensions
    answer = await wire.fetch(
        "POST",
        route,
        "/embeddings",
        headers=wire.tagged(call, headers(key)),
        timeouts=timeouts,
        body=msgspec.json.encode(body | {"encoding_format": "float"}),
        kind=_Vectors,
        max_bytes=MAX_EMBEDDING_BYTES,
    )
    ordered = sorted(answer.data, key=lambda vector: vector.index)
    if [vector.index for vector in ordered] != list(range(len(call.inputs))):
        raise AnswerBroken
    return Embeddings(
        vectors=tuple(vector.embedding for vector in ordered),
        model=answer.model or route.model,
        tokens=usage.read(usage.openai, answer.usage) or TokenCount(),
    )
