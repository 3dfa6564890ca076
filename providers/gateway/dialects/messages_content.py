"""The messages of an Anthropic request as ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from providers.gateway.dialects import reading
from providers.gateway.dialects.reading import ABSENT
from providers.types import (
    AnyPart,
    CacheTime,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    RedactedThinkingPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

Raw = msgspec.Raw
Source = dict[str, object]
_ROLES: Final[dict[str, Role]] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
}
_KINDS: Final = frozenset(
    {
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
    }
)
# Claude Code's first system block. It changes with every request, and to other vendors it would be
# the head of the prompt, so nothing after it would ever be found in their caches.
_ACCOUNTING: Final = "x-anthropic-billing-header:"


class _Message(msgspec.Struct):
    role: str
    content: str | list[Raw] | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    source: str | Source | None = None
    title: object = None
    content: Raw = ABSENT
    id: str | None = None
    name: str | None = None
    input: Raw = ABSENT
    tool_use_id: str | None = None
    is_error: object = None
    thinking: str | None = None
    signature: object = None
    data: str | None = None
    cache_control: object = None


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_BLOCK: Final = msgspec.json.Decoder(_Block)
_CONTENT: Final = msgspec.json.Decoder(str | list[Raw] | None)


def read(messages: list[Raw]) -> tuple[Message, ...]:
    """All of them, in order; raises InvalidInput. A role that nobody knows speaks as a user."""
    return tuple(_message(raw, f"/messages/{place}") for place, raw in enumerate(messages))


def system(blocks: list[Raw]) -> tuple[AnyPart, ...]:
    """The blocks of the system prompt."""
    return tuple(_instruction(raw, f"/system/{place}") for place, raw in enumerate(blocks))


def _instruction(raw: Raw, at: str) -> AnyPart:
    part = _part(raw, at)
    if isinstance(part, TextPart) and part.text.startswith(_ACCOUNTING):
        return OpaquePart(dialect=DialectName.MESSAGES, raw=raw)
    return part


def _message(raw: Raw, at: str) -> Message:
    spec = reading.decode(raw, _MESSAGE, at=at)
    role = _ROLES.get(spec.role, "user")
    return Message(role=role, parts=tuple(_parts(spec.content, f"{at}/content")))


def _parts(content: str | list[Raw] | None, at: str) -> Iterator[AnyPart]:
    if isinstance(content, str):
        yield TextPart(text=content)
        return
    for place, raw in enumerate(content or ()):
        yield _part(raw, f"{at}/{place}")


def _part(raw: Raw, at: str) -> AnyPart:
    try:
        block = _BLOCK.decode(raw)
    except msgspec.DecodeError:
        value = reading.loose(raw)
        if isinstance(value, str):
            return TextPart(text=value)
        if not isinstance(value, dict) or value.get("type") in (*_KINDS, None):
            reading.decode(raw, _BLOCK, at=at)
        block = _Block(type="")
    part = _known(block, at) if block.type in _KINDS else None
    return part or OpaquePart(dialect=DialectName.MESSAGES, raw=raw)


def _known(block: _Block, at: str) -> AnyPart | None:
    cache = reading.cache_time(block.cache_control)
    match block.type:
        case "text":
            return TextPart(text=_needed(block.text, at, "text"), cache=cache)
        case "image":
            return _image(reading.mapping(block.source), cache)
        case "document":
            return _document(block, cache)
        case "search_result":
            return _found(block, cache, at)
        case "thinking" | "redacted_thinking":
            return _thought(block, at)
        case "tool_use":
            return ToolUsePart(
                id=_needed(block.id, at, "id"),
                name=_needed(block.name, at, "name"),
                arguments=bytes(block.input).decode() if reading.is_given(block.input) else "{}",
                cache=cache,
            )
    return _result(block, cache, at)


def _needed(value: str | None, at: str, name: str) -> str:
    if value is None:
        raise reading.fault(f"{at}/{name}", "a block of this type has this member")
    return value


def _thought(block: _Block, at: str) -> AnyPart:
    if block.type == "redacted_thinking":
        return RedactedThinkingPart(data=_needed(block.data, at, "data"))
    return ThinkingPart(
        text=_needed(block.thinking, at, "thinking"), signature=reading.text_of(block.signature)
    )


def _image(source: Source, cache: CacheTime) -> ImagePart | None:
    """A file by id is the vendor's alone."""
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return ImagePart(media_type=kind, data=data, cache=cache)
        case {"type": "url", "url": str(url)}:
            return reading.image(url, cache=cache)
    return None


def _document(block: _Block, cache: CacheTime) -> DocumentPart | None:
    name = reading.text_of(block.title)
    match reading.mapping(block.source):
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            return DocumentPart(media_type=kind, name=name, data=data, cache=cache)
        case {"type": "text", "data": str(text)}:
            return DocumentPart(media_type="text/plain", name=name, text=text, cache=cache)
        case {"type": "url", "url": str(url)}:
            return DocumentPart(media_type="application/pdf", name=name, url=url, cache=cache)
        case {"type": "content", "content": str(text)}:
            return DocumentPart(media_type="text/plain", name=name, text=text, cache=cache)
        case {"type": "content", "content": list(blocks)}:
            text = "\n".join(reading.text_of(reading.mapping(one).get("text")) for one in blocks)
            return DocumentPart(media_type="text/plain", name=name, text=text, cache=cache)
    return None


def _found(block: _Block, cache: CacheTime, at: str) -> DocumentPart:
    """What a search found, as the text document that it is; its source stands in its name."""
    text, _ = _told(block, at)
    title = (reading.text_of(block.title), reading.text_of(block.source))
    name = " - ".join(word for word in title if word)
    return DocumentPart(media_type="text/plain", name=name, text=text, cache=cache)


def _result(block: _Block, cache: CacheTime, at: str) -> ToolResultPart:
    text, media = _told(block, at)
    return ToolResultPart(
        tool_use_id=_needed(block.tool_use_id, at, "tool_use_id"),
        text=text,
        is_error=block.is_error is True,
        media=media,
        cache=cache,
    )


def _told(block: _Block, at: str) -> tuple[str, tuple[ImagePart | DocumentPart, ...]]:
    """The content of a block. What no other vendor's result has room for is told as it came."""
    content: str | list[Raw] | None = None
    if reading.is_given(block.content):
        content = reading.decode(block.content, _CONTENT, at=f"{at}/content")
    texts: list[str] = []
    media: list[ImagePart | DocumentPart] = []
    for part in _parts(content, f"{at}/content"):
        match part:
            case TextPart(text=text):
                texts.append(text)
            case ImagePart() | DocumentPart():
                media.append(part)
            case OpaquePart(raw=raw):
                texts.append(bytes(raw).decode())
    return "\n".join(texts), tuple(media)
