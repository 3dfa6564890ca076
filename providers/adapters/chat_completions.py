"""The chat-completions dialect: its events as our chunks; `chat_request` is the way there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final

import msgspec

from ideplatform.kit import egress, ids
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, Response
from providers.adapters import blocks, usage, wire
from providers.types import (
    Chunk,
    Citation,
    DialectName,
    Image,
    ImagePart,
    Opaque,
    RedactedThinking,
    Refusal,
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

DONE: Final = b"[DONE]"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _GoogleExtra(msgspec.Struct):
    thought_signature: str | None = None


class _Extra(msgspec.Struct):
    google: _GoogleExtra | None = None


class _Detail(msgspec.Struct, omit_defaults=True):
    """Reasoning as OpenRouter tells it; encrypted details must come back as they were."""

    type: str = ""
    id: str | None = None
    format: str | None = None
    index: int | None = None
    text: str | None = None
    summary: str | None = None
    signature: str | None = None
    data: str | None = None


class _Url(msgspec.Struct):
    url: str = ""
    title: str = ""
    content: str = ""


class _Annotation(msgspec.Struct):
    url_citation: _Url | None = None


class _Picture(msgspec.Struct):
    image_url: _Url | None = None


class _ContentPart(msgspec.Struct):
    """Some servers say content in parts, reasoning among them."""

    text: str | None = None
    thinking: list[_ContentPart] | str | None = None


class _ToolDelta(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None
    extra_content: _Extra | None = None


class _Delta(msgspec.Struct):
    content: str | list[_ContentPart] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[_Detail] | None = None
    tool_calls: list[_ToolDelta] | None = None
    annotations: list[_Annotation] | None = None
    images: list[_Picture] | None = None
    audio: msgspec.Raw | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: dict[str, object] | None = None
    service_tier: str | None = None
    error: object = None


class _Stream:
    """The state of one answer: which blocks are open, how it ended."""

    def __init__(self, response: Response, dropped: tuple[str, ...]) -> None:
        self.response = response
        self.dropped = dropped
        self.numbers = blocks.Numbers()
        self.tools: dict[int, str] = {}  # vendor index -> id of the call open there
        self.open: list[int] = []
        self.images = 0
        self.reason: StopReason | None = None
        self.has_started = False

    def chunks(self, event: _Event) -> Iterator[Chunk]:
        if event.error is not None:
            raise wire.failure(0, wire.codes_of(event.error))
        if not self.has_started:
            self.has_started = True
            name = wire.request_id(self.response, event.id)
            yield Started(model=event.model or "", provider_request_id=name, dropped=self.dropped)
        for choice in event.choices or ():
            if choice.index == 0:
                yield from self._choice(choice)
        tokens = usage.read(usage.openai, event.usage)
        if tokens is not None:
            yield Usage(tokens=tokens, is_final=False, service_tier=wire.tier(event.service_tier))

    def _choice(self, choice: _Choice) -> Iterator[Chunk]:
        if choice.delta is not None:
            yield from self._grew(choice.delta)
        if choice.finish_reason is not None:
            self.reason = wire.CHAT_REASONS.get(choice.finish_reason, StopReason.END)

    def _grew(self, delta: _Delta) -> Iterator[Chunk]:
        if delta.reasoning_details:  # the same words come in `reasoning` too
            for detail in delta.reasoning_details:
                yield from self._reasoned(detail)
        elif thought := delta.reasoning_content or delta.reasoning:
            yield Thinking(index=self.numbers.of(("thinking", None)), text=thought)
        yield from self._said(delta.content or "")
        if delta.refusal:
            yield Refusal(text=delta.refusal)
        for call in delta.tool_calls or ():
            yield from self._tool(call)
        if delta.annotations or delta.images or delta.audio is not None:
            yield from self._extras(delta)

    def _said(self, content: str | list[_ContentPart]) -> Iterator[Chunk]:
        if isinstance(content, list):
            for part in content:
                yield from self._part(part)
        elif content:
            yield Text(index=self.numbers.of("text"), text=content)

    def _reasoned(self, detail: _Detail) -> Iterator[Chunk]:
        index = self.numbers.of(("thinking", detail.index or None))
        if words := detail.text or detail.summary:
            yield Thinking(index=index, text=words)
        if detail.signature:
            yield ThinkingSignature(index=index, signature=detail.signature)
        if detail.data:
            number = self.numbers.of(("encrypted", detail.index, detail.id, detail.data[:80]))
            whole = msgspec.json.encode(detail).decode()
            yield RedactedThinking(index=number, data=whole)

    def _part(self, part: _ContentPart) -> Iterator[Chunk]:
        if part.text:
            yield Text(index=self.numbers.of("text"), text=part.text)
        thought = part.thinking
        if isinstance(thought, list):
            thought = "".join(piece.text or "" for piece in thought)
        if thought:
            yield Thinking(index=self.numbers.of(("thinking", None)), text=thought)

    def _extras(self, delta: _Delta) -> Iterator[Chunk]:
        """What few servers say: sources, pictures, sound."""
        for annotation in delta.annotations or ():
            if (at := annotation.url_citation) is not None:
                index = self.numbers.of("text")
                yield Citation(index=index, url=at.url, title=at.title, cited=at.content)
        for picture in delta.images or ():
            url = picture.image_url.url if picture.image_url is not None else ""
            image = blocks.inlined(ImagePart(media_type="image/png", url=url))
            if image.data:
                self.images += 1
                number = self.numbers.of(("image", self.images))
                yield Image(index=number, media_type=image.media_type, data=image.data)
        if delta.audio is not None and delta.audio != b"null":
            raw = b'{"audio":%b}' % bytes(delta.audio)
            yield Opaque(dialect=DialectName.CHAT, raw=msgspec.Raw(raw))

    def _tool(self, part: _ToolDelta) -> Iterator[Chunk]:
        function = part.function or _Function()
        held = self.tools.get(part.index)
        # Some imitations leave every index at 0 and tell calls apart by their id alone.
        if held is None or (part.id and part.id != held):
            held = self.tools[part.index] = part.id or f"call_{ids.base32(ids.new())}"
            block = self.numbers.of(held)
            self.open.append(block)
            yield ToolCall(
                index=block, id=held, name=function.name or "", signature=_signature(part)
            )
        if function.arguments:
            yield ToolArguments(index=self.numbers.of(held), delta=function.arguments)

    def end(self) -> Iterator[Chunk]:
        for block in self.open:
            yield ToolCallEnd(index=block)
        reason = self.reason or StopReason.END
        if self.open and reason is StopReason.END:  # several servers say "stop" after calls
            reason = StopReason.TOOL_CALLS
        yield Stop(reason=reason)


async def read(
    response: Response,
    dropped: tuple[str, ...] = (),
    *,
    max_line_bytes: int = egress.sse.MAX_LINE_BYTES,
) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer; raises VendorError and the errors of `kit.egress`."""
    stream = _Stream(response, dropped)
    is_done = False
    try:
        async for event in egress.iter_sse(response, max_line_bytes=max_line_bytes):
            if event.data == DONE:
                is_done = True
                break
            told = wire.event(event.data, _Event)
            if told is not None:
                for chunk in stream.chunks(told):
                    yield chunk
    except (AnswerBroken, AnswerTimeout):
        if stream.reason is None:
            raise
    # `[DONE]` may be missing, the reason may be; without both the answer was cut.
    if stream.reason is None and not is_done:
        raise AnswerBroken
    for chunk in stream.end():
        yield chunk


def _signature(part: _ToolDelta) -> str:
    extra = part.extra_content
    return (extra.google.thought_signature or "") if extra and extra.google else ""
