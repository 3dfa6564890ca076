"""Google's Gemini dialect.

Whole function calls come without ids: we mint them. Usage repeats; the last one holds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from billing.types import TokenCount
from ideplatform.kit import egress, ids
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken, Response, Timeouts
from providers.adapters import blocks, google_request, usage, wire
from providers.adapters.contract import Route
from providers.types import (
    Call,
    Chunk,
    EmbedCall,
    Embeddings,
    ModelInfo,
    Started,
    Stop,
    StopReason,
    Text,
    Thinking,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    Usage,
)

MAX_PAGES: Final = 10
_FILTERED: Final = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "LANGUAGE"}
)


class _FunctionCall(msgspec.Struct):
    name: str = ""
    args: dict[str, object] | None = None
    id: str | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Event(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: dict[str, object] | None = None
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: _Feedback | None = None
    error: object = None


class _Listed(msgspec.Struct, rename="camel"):
    name: str
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None


class _Page(msgspec.Struct, rename="camel"):
    models: list[_Listed] = []
    next_page_token: str | None = None


class _Vector(msgspec.Struct):
    values: tuple[float, ...]


class _Vectors(msgspec.Struct, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: dict[str, object] | None = None


class _Counted(msgspec.Struct, rename="camel"):
    total_tokens: int


async def stream(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts
) -> AsyncGenerator[Chunk, None]:
    async with wire.exchange(
        "POST",
        route,
        _path(route, ":streamGenerateContent?alt=sse"),
        headers=wire.tagged(call, _headers(key)),
        timeouts=timeouts,
        body=google_request.body(call),
    ) as response:
        async for chunk in _read(response):
            yield chunk


async def embed(
    call: EmbedCall, route: Route, key: Secret | None, timeouts: Timeouts
) -> Embeddings:
    size = {} if call.dimensions is None else {"outputDimensionality": call.dimensions}
    requests = [
        {"model": f"models/{_model(route)}", "content": {"parts": [{"text": text}]}, **size}
        for text in call.inputs
    ]
    answer = await wire.fetch(
        "POST",
        route,
        _path(route, ":batchEmbedContents"),
        headers=wire.tagged(call, _headers(key)),
        timeouts=timeouts,
        body=msgspec.json.encode({"requests": requests}),
        kind=_Vectors,
        max_bytes=egress.client.MAX_BYTES,
    )
    if len(answer.embeddings) != len(call.inputs):
        raise AnswerBroken
    return Embeddings(
        vectors=tuple(vector.values for vector in answer.embeddings),
        model=route.model,
        tokens=usage.read(usage.google, answer.usage_metadata) or TokenCount(),
    )


async def list_models(route: Route, key: Secret | None, timeouts: Timeouts) -> list[ModelInfo]:
    found: list[ModelInfo] = []
    query = "?pageSize=1000"
    for _ in range(MAX_PAGES):
        page = await wire.fetch(
            "GET",
            route,
            f"{_root(route)}/models{query}",
            headers=_headers(key),
            timeouts=timeouts,
            kind=_Page,
        )
        found += [
            ModelInfo(
                id=model.name.removeprefix("models/"),
                display_name=model.display_name or "",
                context_tokens=model.input_token_limit,
                max_output_tokens=model.output_token_limit,
            )
            for model in page.models
        ]
        if not page.next_page_token:
            break
        query = f"?pageSize=1000&pageToken={quote(page.next_page_token, safe='')}"
    return found


async def count_tokens(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts
) -> int | None:
    """The vendor's own count of the input, free of charge."""
    counted = await wire.fetch(
        "POST",
        route,
        _path(route, ":countTokens"),
        headers=_headers(key),
        timeouts=timeouts,
        body=msgspec.json.encode(google_request.contents(call)),
        kind=_Counted,
    )
    return counted.total_tokens


def _root(route: Route) -> str:
    return "" if route.base_url.endswith("/v1beta") else "/v1beta"


def _model(route: Route) -> str:
    """Price lists call the models `gemini/...`, the API `models/...`."""
    return route.model.removeprefix("gemini/").removeprefix("models/")


def _path(route: Route, method: str) -> str:
    return f"{_root(route)}/models/{quote(_model(route), safe='')}{method}"


def _headers(key: Secret | None) -> dict[str, str]:
    return {"x-goog-api-key": key.reveal()} if key is not None else {}


class _Stream:
    """The state of one answer."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.numbers = blocks.Numbers()
        self.calls = 0
        self.reason: StopReason | None = None
        self.has_started = False

    def chunks(self, event: _Event) -> Iterator[Chunk]:
        if event.error is not None:
            raise wire.failure(0, wire.codes_of(event.error))
        if not self.has_started:
            self.has_started = True
            name = wire.request_id(self.response, event.response_id)
            yield Started(model=event.model_version or "", provider_request_id=name)
        # Before the text: whoever goes away at a word pays for it as it was counted with it.
        tokens = usage.read(usage.google, event.usage_metadata)
        if tokens is not None:
            yield Usage(tokens=tokens, is_final=False)
        for candidate in (event.candidates or ())[:1]:
            for part in (candidate.content.parts if candidate.content else None) or ():
                yield from self._part(part)
            if candidate.finish_reason:
                self.reason = self._reason(candidate.finish_reason)
        if event.prompt_feedback is not None and event.prompt_feedback.block_reason:
            self.reason = StopReason.CONTENT_FILTER

    def _part(self, part: _Part) -> Iterator[Chunk]:
        if part.function_call is not None:
            yield from self._call(part.function_call, part.thought_signature or "")
            return
        if part.text:
            kind = Thinking if part.thought else Text
            yield kind(index=self.numbers.of(kind), text=part.text)
        if part.thought_signature:
            index = self.numbers.of(Thinking)
            yield ThinkingSignature(index=index, signature=part.thought_signature)

    def _call(self, call: _FunctionCall, signature: str) -> Iterator[Chunk]:
        self.calls += 1
        index = self.numbers.of(self.calls)
        call_id = call.id or f"call_{ids.base32(ids.new())}"
        yield ToolCall(index=index, id=call_id, name=call.name, signature=signature)
        yield ToolArguments(index=index, delta=msgspec.json.encode(call.args or {}).decode())
        yield ToolCallEnd(index=index)

    def _reason(self, name: str) -> StopReason:
        if name == "MAX_TOKENS":
            return StopReason.LENGTH
        if name in _FILTERED:
            return StopReason.CONTENT_FILTER
        return StopReason.TOOL_CALLS if self.calls else StopReason.END


async def _read(response: Response) -> AsyncGenerator[Chunk, None]:
    stream = _Stream(response)
    async for event in egress.iter_sse(response):
        for chunk in stream.chunks(wire.decode(event.data, _Event)):
            yield chunk
    if stream.reason is None:
        raise AnswerBroken
    yield Stop(reason=stream.reason)
