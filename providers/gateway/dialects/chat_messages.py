"""The messages of a chat completion request as ours.

Reasoning comes back in the words of whoever wrote the client: `reasoning_details` (OpenRouter's),
`thinking_blocks` (LiteLLM's), `reasoning_content` or `reasoning` (unsigned).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from providers.gateway.dialects import reading
from providers.gateway.dialects.reading import ABSENT
from providers.types import (
    AnyPart,
    AudioPart,
    CacheTime,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

Raw = msgspec.Raw
# A role that no other vendor knows speaks to the model, as a user does.
_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_KINDS: Final = frozenset({"text", "image_url", "input_audio", "file", "refusal"})


class _Message(msgspec.Struct):
    role: str
    content: str | list[Raw] | None = None
    name: object = None
    tool_calls: list[Raw] | None = None
    function_call: Raw = ABSENT
    tool_call_id: str | None = None
    refusal: object = None
    cache_control: object = None
    reasoning_details: Raw = ABSENT
    thinking_blocks: Raw = ABSENT
    reasoning_content: object = None
    reasoning: object = None
    images: Raw = ABSENT


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: str | dict[str, object] | None = None
    input_audio: dict[str, object] | None = None
    file: dict[str, object] | None = None
    refusal: str | None = None
    cache_control: object = None
    prompt_cache_breakpoint: object = None


class _Named(msgspec.Struct):
    name: str
    arguments: Raw = ABSENT


class _Call(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    function: _Named | None = None
    extra_content: object = None


_MESSAGE: Final = msgspec.json.Decoder(_Message)
_PART: Final = msgspec.json.Decoder(_Part)
_CALL: Final = msgspec.json.Decoder(_Call)
_NAMED: Final = msgspec.json.Decoder(_Named)


def read(messages: list[Raw]) -> tuple[Message, ...]:
    """All of them, in order; raises InvalidInput."""
    reader = _Reader()
    return tuple(reader.message(raw, f"/messages/{place}") for place, raw in enumerate(messages))


class _Reader:
    """What later messages need of earlier ones: calls without ids, calls that are not functions."""

    def __init__(self) -> None:
        self._minted: dict[str, str] = {}
        self._foreign: set[str] = set()

    def message(self, raw: Raw, at: str) -> Message:
        spec = reading.decode(raw, _MESSAGE, at=at)
        role = _ROLES.get(spec.role, "user")
        if role == "tool":
            return Message(role=role, parts=(self._result(spec, raw, at),))
        parts = list(_content(spec, at))
        if role == "assistant":
            parts = [*_thoughts(spec), *parts, *self._calls(spec, at), *_images(spec)]
        return Message(role=role, parts=tuple(parts))

    def _result(self, spec: _Message, raw: Raw, at: str) -> AnyPart:
        name = reading.text_of(spec.name)
        call_id = spec.tool_call_id or self._minted.get(name, "")
        if call_id in self._foreign:
            return OpaquePart(dialect=DialectName.CHAT, raw=raw)
        parts = tuple(_content(spec, at))
        return ToolResultPart(
            tool_use_id=call_id,
            name=name,
            text="\n".join(_texts(parts)),
            media=tuple(part for part in parts if isinstance(part, ImagePart | DocumentPart)),
            cache=next((part.cache for part in parts if part.cache), ""),
        )

    def _calls(self, spec: _Message, at: str) -> Iterator[AnyPart]:
        signatures = _signatures(spec)
        for place, raw in enumerate(spec.tool_calls or ()):
            call = reading.decode(raw, _CALL, at=f"{at}/tool_calls/{place}")
            call_id = call.id or ""
            if call.function is None:
                self._foreign.add(call_id)
                yield OpaquePart(dialect=DialectName.CHAT, raw=raw)
                continue
            yield ToolUsePart(
                id=call_id,
                name=call.function.name,
                arguments=_arguments(call.function.arguments),
                signature=_signature(call.extra_content) or signatures.get(call_id, ""),
            )
        if reading.is_given(spec.function_call):
            yield self._function(spec.function_call, f"{at}/function_call")

    def _function(self, raw: Raw, at: str) -> ToolUsePart:
        """A call of the first dialect has no id: its name and its place in the talk make one."""
        named = reading.decode(raw, _NAMED, at=at)
        call_id = f"call_{at.split('/')[2]}"
        self._minted[named.name] = call_id
        return ToolUsePart(id=call_id, name=named.name, arguments=_arguments(named.arguments))


def _content(spec: _Message, at: str) -> Iterator[AnyPart]:
    cache = reading.cache_time(spec.cache_control)
    if isinstance(spec.content, str):
        if spec.content or spec.role != "assistant":
            yield TextPart(text=spec.content, cache=cache)
    else:
        for place, raw in enumerate(spec.content or ()):
            yield _part(raw, f"{at}/content/{place}")
    if isinstance(spec.refusal, str) and spec.refusal:
        yield RefusalPart(text=spec.refusal)


def _part(raw: Raw, at: str) -> AnyPart:
    try:
        part = _PART.decode(raw)
    except msgspec.DecodeError:
        value = reading.loose(raw)
        if isinstance(value, str):
            return TextPart(text=value)
        if not isinstance(value, dict) or value.get("type") in (*_KINDS, None):
            reading.decode(raw, _PART, at=at)
        part = _Part(type="")
    return _known(part, at) or OpaquePart(dialect=DialectName.CHAT, raw=raw)


def _known(part: _Part, at: str) -> AnyPart | None:
    mark = part.cache_control or part.prompt_cache_breakpoint
    cache = reading.cache_time(_breakpoint(mark))
    match part.type:
        case "text":
            if part.text is None:
                raise reading.fault(f"{at}/text", "a text part has a text")
            return TextPart(text=part.text, cache=cache)
        case "refusal" if part.refusal is not None:
            return RefusalPart(text=part.refusal)
        case "image_url":
            return _image(part, cache, at)
        case "input_audio" if part.input_audio is not None:
            return _audio(part.input_audio, cache)
        case "file" if part.file is not None:
            return _file(part.file, cache)
    return None


def _breakpoint(mark: object) -> object:
    """OpenAI's mark has a mode where Anthropic's has a type."""
    return {"ttl": mark.get("ttl")} if isinstance(mark, dict) and "mode" in mark else mark


def _image(part: _Part, cache: CacheTime, at: str) -> ImagePart:
    asked = part.image_url
    url = asked if isinstance(asked, str) else reading.mapping(asked).get("url")
    if not isinstance(url, str):
        raise reading.fault(f"{at}/image_url", "an image has a url")
    return reading.image(url, cache=cache)


def _audio(given: dict[str, object], cache: CacheTime) -> AudioPart | None:
    data, kind = given.get("data"), given.get("format")
    if not isinstance(data, str) or not isinstance(kind, str):
        return None
    return AudioPart(format=kind, data=data, cache=cache)


def _file(given: dict[str, object], cache: CacheTime) -> DocumentPart | None:
    """A file by id is the vendor's alone."""
    data = given.get("file_data")
    if not isinstance(data, str):
        return None
    name = reading.text_of(given.get("filename"))
    if data.startswith(("http://", "https://")):
        return DocumentPart(media_type="application/pdf", name=name, url=data, cache=cache)
    return reading.document(data, name=name, cache=cache)


def _texts(parts: tuple[AnyPart, ...]) -> Iterator[str]:
    """What a tool said. A part that no vendor's tool result has room for is told as it came."""
    for part in parts:
        if isinstance(part, TextPart | RefusalPart):
            yield part.text
        elif isinstance(part, OpaquePart):
            yield bytes(part.raw).decode()


def _arguments(raw: Raw) -> str:
    """The JSON text that the model wrote; some clients send the object itself."""
    value = reading.loose(raw)
    if isinstance(value, str):
        return value
    return bytes(raw).decode() if value is not None else ""


def _signature(extra: object) -> str:
    google = reading.mapping(reading.mapping(extra).get("google"))
    return reading.text_of(google.get("thought_signature"))


def _entries(raw: Raw) -> list[dict[str, object]]:
    found = reading.loose(raw)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _signatures(spec: _Message) -> dict[str, str]:
    """Google's signatures of calls, where a client keeps them as OpenRouter tells them."""
    return {
        call_id: data
        for entry in _entries(spec.reasoning_details)
        if isinstance(call_id := entry.get("id"), str)
        and entry.get("type") == "reasoning.encrypted"
        and isinstance(data := entry.get("data"), str)
    }


def _thoughts(spec: _Message) -> Iterator[AnyPart]:
    called = {
        reading.text_of(reading.mapping(reading.loose(raw)).get("id"))
        for raw in spec.tool_calls or ()
    }
    found = [
        part
        for entry in _entries(spec.reasoning_details)
        if entry.get("id") not in called or not entry.get("id")
        if (part := _detail(entry)) is not None
    ]
    found = found or [
        part
        for entry in _entries(spec.thinking_blocks)
        if (part := _thinking_block(entry)) is not None
    ]
    said = reading.text_of(spec.reasoning_content) or reading.text_of(spec.reasoning)
    if not any(isinstance(part, ThinkingPart) for part in found) and said:
        found.insert(0, ThinkingPart(text=said))
    yield from found


def _detail(entry: dict[str, object]) -> AnyPart | None:
    text, data = entry.get("text"), entry.get("data")
    signature = reading.text_of(entry.get("signature"))
    match entry.get("type"):
        case "reasoning.text" if isinstance(text, str) or signature:
            return ThinkingPart(text=reading.text_of(text), signature=signature)
        case "reasoning.summary" if isinstance(entry.get("summary"), str):
            return ThinkingPart(text=reading.text_of(entry["summary"]))
        case "reasoning.encrypted" if isinstance(data, str):
            return RedactedThinkingPart(data=data)
    return None


def _thinking_block(entry: dict[str, object]) -> AnyPart | None:
    match entry:
        case {"type": "thinking", "thinking": str(text)}:
            return ThinkingPart(text=text, signature=reading.text_of(entry.get("signature")))
        case {"type": "redacted_thinking", "data": str(data)}:
            return RedactedThinkingPart(data=data)
    return None


def _images(spec: _Message) -> Iterator[AnyPart]:
    """Pictures that the model made."""
    for entry in _entries(spec.images):
        url = reading.mapping(entry.get("image_url")).get("url")
        if isinstance(url, str):
            yield reading.image(url)
