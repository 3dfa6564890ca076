"""What OpenAI and its imitations share: both dialects, authorisation, models, embeddings."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from billing.types import TokenCount
from ideplatform.kit import egress
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken, Response, Timeouts
from providers.adapters import (
    chat_completions,
    chat_request,
    passthrough,
    responses,
    responses_request,
    scanning,
    usage,
    wire,
)
from providers.adapters.blocks import Request
from providers.adapters.contract import Route
from providers.types import (
    Call,
    Chunk,
    DialectName,
    EmbedCall,
    Embeddings,
    ModelInfo,
    Source,
)

MAX_EMBEDDING_BYTES: Final = 64 * 1024 * 1024
_PATHS: Final = {
    DialectName.CHAT: "/chat/completions",
    DialectName.RESPONSES: "/responses",
}

# How a request asks for pictures: only such answers may have lines as long as those.
_MAKES_IMAGES: Final = {
    DialectName.CHAT: b'"modalities"',
    DialectName.RESPONSES: b'"image_generation"',
}


class _Model(msgspec.Struct):
    id: str
    name: str | None = None
    context_length: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


class _Vector(msgspec.Struct):
    index: int
    embedding: str | tuple[float, ...]


def floats(vector: str | tuple[float, ...]) -> tuple[float, ...]:
    """Base64 is of little-endian 32-bit floats; some servers send it unasked."""
    if not isinstance(vector, str):
        return vector
    try:
        held = array("f", base64.b64decode(vector, validate=True))
    except (binascii.Error, ValueError):
        raise AnswerBroken from None
    if sys.byteorder == "big":
        held.byteswap()
    return tuple(held)


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
    dialect = DialectName.RESPONSES if route.config.api == "responses" else DialectName.CHAT
    source = passthrough.source_of(call, dialect)
    request = (
        _request(call, route, dialect, is_openai=is_openai)
        if source is None
        else passthrough.request(call, source, model=route.model, is_openai=is_openai)
    )
    async with wire.exchange(
        "POST",
        route,
        _PATHS[dialect],
        headers=wire.tagged(call, headers(key) | passthrough.headers(source, route)),
        timeouts=timeouts,
        body=request.body,
    ) as response:
        async for chunk in _answer(response, request, dialect, source):
            yield chunk


def _request(call: Call, route: Route, dialect: DialectName, *, is_openai: bool) -> Request:
    if dialect is DialectName.RESPONSES:
        return responses_request.body(call, model=route.model)
    return chat_request.body(call, model=route.model, is_openai=is_openai)


def _answer(
    response: Response, request: Request, dialect: DialectName, source: Source | None
) -> AsyncGenerator[Chunk, None]:
    makes_images = _MAKES_IMAGES[dialect] in request.body
    most = wire.MAX_IMAGE_LINE if makes_images else egress.sse.MAX_LINE_BYTES
    if source is not None and source.is_streamed:
        scanner = scanning.of(dialect)
        return passthrough.read(response, scanner, max_line_bytes=most)
    if dialect is DialectName.RESPONSES:
        return responses.read(response, request.dropped, max_line_bytes=most)
    return chat_completions.read(response, request.dropped, max_line_bytes=most)


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
    """The vectors; floats are read as they are written, base64 of them too."""
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
        vectors=tuple(floats(vector.embedding) for vector in ordered),
        model=answer.model or route.model,
        tokens=usage.read(usage.openai, answer.usage) or TokenCount(),
    )
