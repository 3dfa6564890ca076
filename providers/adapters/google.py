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
from ideplatform.kit.errors import InvalidInput
from providers.adapters import blocks, google_request, usage, wire
from providers.adapters.contract import Route
from providers.types import (
    Call,
    Chunk,
    Citation,
    EmbedCall,
    Embeddings,
    Image,
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


class _Blob(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class _Web(msgspec.Struct):
    uri: str | None = None
    title: str | None = None


class _Grounding(msgspec.Struct):
    web: _Web | None = None


class _GroundingMetadata(msgspec.Struct, rename="camel"):
    grounding_chunks: list[_Grounding] | None = None


class _CitationMetadata(msgspec.Struct, rename="camel"):
    citation_sources: list[_Web] | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: _Blob | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    grounding_metadata: _GroundingMetadata | None = None
    citation_metadata: _CitationMetadata | None = None


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
    request = google_request.body(call, model=_model(route))
    async with wire.exchange(
        "POST",
        route,
        _path(route, ":streamGenerateContent?alt=sse"),
        headers=wire.tagged(call, _headers(key)),
        timeouts=timeouts,
        body=request.body,
    ) as response:
        most = wire.MAX_IMAGE_LINE if "image" in route.model else egress.sse.MAX_LINE_BYTES
        async for chunk in read(response, request.dropped, max_line_bytes=most):
            yield chunk


async def embed(
    call: EmbedCall, route: Route, key: Secret | None, timeouts: Timeouts
) -> Embeddings:
    if not all(isinstance(text, str) for text in call.inputs):
        raise InvalidInput("this provider embeds texts, not token numbers")
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
        body=msgspec.json.encode(
            google_request.contents(call, model=_model(route), dropped=blocks.Dropped())
        ),
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

    def __init__(self, response: Response, dropped: tuple[str, ...]) -> None:
        self.response = response
        self.dropped = dropped
        self.numbers = blocks.Numbers()
        self.calls = 0
        self.images = 0
        self.cited: set[str] = set()
        self.reason: StopReason | None = None
        self.has_started = False

    def chunks(self, event: _Event) -> Iterator[Chunk]:
        if event.error is not None:
            raise wire.failure(0, wire.codes_of(event.error))
        if not self.has_started:
            self.has_started = True
            name = wire.request_id(self.response, event.response_id)
            yield Started(
                model=event.model_version or "", provider_request_id=name, dropped=self.dropped
            )
        # Before the text: whoever goes away at a word pays for it as it was counted with it.
        tokens = usage.read(usage.google, event.usage_metadata)
        if tokens is not None:
            yield Usage(tokens=tokens, is_final=False)
        for candidate in (event.candidates or ())[:1]:
            for part in (candidate.content.parts if candidate.content else None) or ():
                yield from self._part(part)
            yield from self._sources(candidate)
            if candidate.finish_reason:
                self.reason = self._reason(candidate.finish_reason)
        if event.prompt_feedback is not None and event.prompt_feedback.block_reason:
            self.reason = StopReason.CONTENT_FILTER

    def _part(self, part: _Part) -> Iterator[Chunk]:
        if part.function_call is not None:
            yield from self._call(part.function_call, part.thought_signature or "")
            return
        if part.inline_data is not None and not part.thought:  # drafts are thoughts
            self.images += 1
            blob, index = part.inline_data, self.numbers.of(("image", self.images))
            yield Image(index=index, media_type=blob.mime_type, data=blob.data)
        if part.text:
            kind = Thinking if part.thought else Text
            yield kind(index=self.numbers.of(kind), text=part.text)
        if part.thought_signature:
            index = self.numbers.of(Thinking)
            yield ThinkingSignature(index=index, signature=part.thought_signature)

    def _sources(self, candidate: _Candidate) -> Iterator[Chunk]:
        """What the answer rests on, each address once: the vendor repeats them."""
        grounding, cited = candidate.grounding_metadata, candidate.citation_metadata
        webs = [one.web for one in (grounding.grounding_chunks if grounding else None) or ()]
        for web in [*webs, *((cited.citation_sources if cited else None) or ())]:
            if web is not None and web.uri and web.uri not in self.cited:
                self.cited.add(web.uri)
                yield Citation(index=self.numbers.of(Text), url=web.uri, title=web.title or "")

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


async def read(
    response: Response,
    dropped: tuple[str, ...] = (),
    *,
    max_line_bytes: int = egress.sse.MAX_LINE_BYTES,
) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer; raises VendorError and the errors of `kit.egress`."""
    stream = _Stream(response, dropped)
    async for event in egress.iter_sse(response, max_line_bytes=max_line_bytes):
        told = wire.event(event.data, _Event)
        if told is not None:
            for chunk in stream.chunks(told):
                yield chunk
    if stream.reason is None:
        raise AnswerBroken
    yield Stop(reason=stream.reason)
