"""Input items of the `responses` dialect as our messages; what is unknown is carried raw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from providers.gateway.dialects import fields, responses_signed
from providers.gateway.dialects.responses_signed import CallSignature
from providers.gateway.dialects.responses_tools import Names
from providers.gateway.dialects.wire import encode
from providers.types import (
    AnyPart,
    AudioPart,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    Raw,
    RefusalPart,
    Role,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,", re.IGNORECASE)
_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
TOOL_LISTS: Final = ("additional_tools", "tool_search_output")


class Kind(msgspec.Struct):
    """What any item says of itself."""

    type: str | None = None
    id: str | None = None


class _Item(msgspec.Struct):
    type: str | None = None
    role: str = ""
    content: Raw = fields.NULL
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: Raw = fields.NULL
    summary: list[_Text] | None = None
    encrypted_content: str | None = None


class _Text(msgspec.Struct):
    text: str = ""


class _Url(msgspec.Struct):
    url: str = ""


class _Sound(msgspec.Struct):
    data: str
    format: str = "wav"


class _Content(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | _Url | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _Sound | None = None


class _Tools(msgspec.Struct):
    tools: list[Raw] | None = None


def listed(raw: Raw | None) -> tuple[Raw, ...]:
    """The items of `input`: a plain text is one message. Raises InvalidInput."""
    if raw is None:
        return ()
    if bytes(raw).startswith(b'"'):
        text = fields.decoded(raw, str, at="/input")
        content = [{"type": "input_text", "text": text}]
        return (Raw(encode({"type": "message", "role": "user", "content": content})),)
    return tuple(fields.decoded(raw, list[Raw], at="/input"))


def kind_of(raw: Raw, *, at: str) -> Kind:
    """Raises InvalidInput for what is not an object."""
    return fields.decoded(raw, Kind, at=at)


def tools_in(items: Sequence[Raw]) -> Iterator[tuple[str, Raw]]:
    """Tools that items bring along (Codex sends its own so), with their places."""
    for place, raw in enumerate(items):
        at = f"/input/{place}"
        if kind_of(raw, at=at).type in TOOL_LISTS:
            for number, tool in enumerate(fields.decoded(raw, _Tools, at=at).tools or ()):
                yield f"{at}/tools/{number}", tool


def messages(items: Sequence[Raw], names: Names) -> tuple[Message, ...]:
    """Items as messages: what the assistant said and did stays together, so do results.

    Raises InvalidInput with the item's place.
    """
    reader = _Reader(names)
    for place, raw in enumerate(items):
        reader.add(raw, at=f"/input/{place}")
    return reader.messages()


class _Reader:
    def __init__(self, names: Names) -> None:
        self._names = names
        self._turns: list[tuple[Role, list[AnyPart]]] = []
        self._signatures: dict[str, str] = {}

    def messages(self) -> tuple[Message, ...]:
        return tuple(Message(role=role, parts=tuple(parts)) for role, parts in self._turns)

    def add(self, raw: Raw, *, at: str) -> None:
        kind = kind_of(raw, at=at).type or "message"
        if kind in TOOL_LISTS:
            return
        read = _READS.get(kind)
        if read is None:
            role: Role = "tool" if kind.endswith("_output") else "assistant"
            self._join(role, [OpaquePart(dialect=DialectName.RESPONSES, raw=raw)])
        else:
            read(self, fields.decoded(raw, _Item, at=at), raw, at)

    def _join(self, role: Role, parts: list[AnyPart]) -> None:
        """More of the assistant's turn, or of its results."""
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(parts)
        else:
            self._turns.append((role, parts))

    def message(self, item: _Item, _: Raw, at: str) -> None:
        role = _ROLES.get(item.role)
        if role is None:
            raise fields.fault(f"{at}/role", "a message needs a role")
        parts = list(_parts(item.content, at=f"{at}/content"))
        if role == "assistant":
            self._join(role, parts)
        else:
            self._turns.append((role, parts))

    def call(self, item: _Item, _: Raw, at: str) -> None:
        if not item.name:
            raise fields.fault(f"{at}/name", "a call needs the name of its tool")
        call_id = _call_id(item, at)
        arguments = item.arguments or ""
        if item.type == "custom_tool_call":
            arguments = encode({"input": item.input or ""}).decode()
        use = ToolUsePart(
            id=call_id,
            name=self._names.flat(item.namespace or "", item.name),
            arguments=arguments,
            signature=self._signatures.get(call_id, ""),
        )
        self._join("assistant", [use])

    def result(self, item: _Item, _: Raw, at: str) -> None:
        parts = list(_parts(item.output, at=f"{at}/output"))
        media = tuple(part for part in parts if isinstance(part, ImagePart | DocumentPart))
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        name = self._names.flat(item.namespace or "", item.name) if item.name else ""
        result = ToolResultPart(tool_use_id=_call_id(item, at), text=text, name=name, media=media)
        self._join("tool", [result])

    def reasoning(self, item: _Item, raw: Raw, at: str) -> None:
        encrypted = item.encrypted_content or ""
        match responses_signed.opened(encrypted):
            case CallSignature(call_id=call_id, signature=signature):
                self._signatures[call_id] = signature
            case None:
                self._join("assistant", [_own_reasoning(item, raw, at)])
            case part:
                self._join("assistant", [part])


_READS: Final[dict[str, Callable[[_Reader, _Item, Raw, str], None]]] = {
    "message": _Reader.message,
    "function_call": _Reader.call,
    "custom_tool_call": _Reader.call,
    "function_call_output": _Reader.result,
    "custom_tool_call_output": _Reader.result,
    "reasoning": _Reader.reasoning,
}


def _own_reasoning(item: _Item, raw: Raw, at: str) -> AnyPart:
    """OpenAI's own item; one without content is known to nobody but its maker."""
    told = [part.text for part in item.summary or ()]
    told += [
        part.text for part in _parts(item.content, at=f"{at}/content") if isinstance(part, TextPart)
    ]
    signature = ""
    if item.encrypted_content:
        signature = f"{item.id or ''}{responses_signed.SEPARATOR}{item.encrypted_content}"
    if not told and not signature:
        return OpaquePart(dialect=DialectName.RESPONSES, raw=raw)
    return ThinkingPart(text="\n\n".join(told), signature=signature)


def _call_id(item: _Item, at: str) -> str:
    found = item.call_id or (item.id if item.type == "function_call" else None)
    if not found:
        raise fields.fault(f"{at}/call_id", "a call and its output need a call_id")
    return found


def _parts(raw: Raw, *, at: str) -> Iterator[AnyPart]:
    if fields.is_null(raw):
        return
    if bytes(raw).startswith(b'"'):
        yield TextPart(text=fields.decoded(raw, str, at=at))
        return
    for place, piece in enumerate(fields.decoded(raw, list[Raw], at=at)):
        yield _part(piece, at=f"{at}/{place}")


def _part(raw: Raw, *, at: str) -> AnyPart:
    opaque = OpaquePart(dialect=DialectName.RESPONSES, raw=raw)
    if kind_of(raw, at=at).type not in _KNOWN_CONTENT:
        return opaque
    content = fields.decoded(raw, _Content, at=at)
    match content:
        case _Content(type="refusal"):
            return RefusalPart(text=content.refusal or "")
        case _Content(type="input_image", image_url=url) if url:
            return image(url if isinstance(url, str) else url.url)
        case _Content(type="input_file"):
            return _document(content) or opaque
        case _Content(type="input_audio", input_audio=_Sound(data=data, format=form)):
            return AudioPart(format=form, data=data)
        case _Content(text=str(text)):
            return TextPart(text=text)
    return opaque


_KNOWN_CONTENT: Final = frozenset(
    {
        "input_text",
        "output_text",
        "text",
        "summary_text",
        "reasoning_text",
        "refusal",
        "input_image",
        "input_file",
        "input_audio",
    }
)


def image(url: str) -> ImagePart:
    """A picture by its address, or the one that a data URL is."""
    found = _DATA_URL.match(url)
    if found is None:
        return ImagePart(media_type="", url=url)
    return ImagePart(media_type=found[1], data=url[found.end() :])


def _document(content: _Content) -> DocumentPart | None:
    """None for a file that only the vendor has."""
    name = content.filename or ""
    if content.file_url:
        return DocumentPart(media_type="", name=name, url=content.file_url)
    if not content.file_data:
        return None
    found = _DATA_URL.match(content.file_data)
    kind = found[1] if found else "application/pdf"
    data = content.file_data[found.end() :] if found else content.file_data
    return DocumentPart(media_type=kind, name=name, data=data)
