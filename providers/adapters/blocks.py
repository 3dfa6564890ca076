"""Helpers of the dialects: block numbers, parts of messages, what a dialect cannot say."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from providers.types import (
    AnyPart,
    Call,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    Raw,
    TextPart,
)

_DATE: Final = re.compile(r"_20\d{6}$")
TEXTS: Final = ("text/", "application/json", "application/xml", "application/yaml")
_LONGEST_USER: Final = 64  # OpenAI refuses a longer name
_MINIMAL_BUDGET: Final = 2_048
_LOW_BUDGET: Final = 8_192
_MEDIUM_BUDGET: Final = 24_576


class Request(NamedTuple):
    """A body for the vendor, and what of the call it could not say."""

    body: bytes
    dropped: tuple[str, ...] = ()


class Dropped:
    """Gathers the names of what a dialect cannot say."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        self._names.add(name)

    def add_where(self, conditions: Mapping[str, object]) -> None:
        """Each name whose condition is true."""
        self._names.update(name for name, is_so in conditions.items() if is_so)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._names))


class Numbers:
    """Block numbers in order of first appearance: kinds of blocks never share one."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def of(self, block: Hashable) -> int:
        return self._numbers.setdefault(block, len(self._numbers))


class _Named(msgspec.Struct):
    type: str = ""
    name: str = ""


def kind_of(raw: Raw) -> str:
    """What a raw block, tool or item calls itself, without the date of its version."""
    try:
        named = msgspec.json.decode(raw, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "unknown"
    return _DATE.sub("", named.type or named.name)[:60] or "unknown"


def own_words(
    call: Call, dialect: DialectName | None, dropped: Dropped
) -> tuple[tuple[Raw, ...], dict[str, Raw]]:
    """The call's server tools and unknown keys for a vendor of their dialect; none for others."""
    if call.source is not None and call.source.dialect is dialect:
        return call.server_tools, call.extra
    for tool in call.server_tools:
        dropped.add(f"server_tools.{kind_of(tool)}")
    for name in call.extra:
        dropped.add(name[:60])
    return (), {}


def given(**values: object) -> dict[str, object]:
    """The values that are known."""
    return {name: value for name, value in values.items() if value is not None}


def text_of(parts: Iterable[AnyPart]) -> str:
    """The plain text of a message."""
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def data_url(part: ImagePart | DocumentPart) -> str:
    return part.url or f"data:{media_type(part)};base64,{part.data}"


def media_type(part: ImagePart | DocumentPart) -> str:
    """The registered name: `image/jpg` is common and refused by vendors."""
    return "image/jpeg" if part.media_type == "image/jpg" else part.media_type


def inlined(part: ImagePart) -> ImagePart:
    """The image with its bytes in `data` where its address already held them."""
    head, comma, data = part.url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return part
    kind = head.removeprefix("data:").removesuffix(";base64")
    return ImagePart(media_type=kind or part.media_type, data=data, cache=part.cache)


def document_text(part: DocumentPart) -> str | None:
    """The words of a document that is plain text, None for any other."""
    if part.text or part.url or not part.media_type.startswith(TEXTS):
        return part.text or None
    try:
        return base64.b64decode(part.data).decode()
    except (binascii.Error, ValueError):
        return None


def titled(part: DocumentPart, text: str) -> str:
    """A document as text, under its name."""
    return f"{part.name}:\n{text}" if part.name else text


def as_object(arguments: str) -> dict[str, object]:
    """A call's arguments for vendors that want an object; models do write broken JSON."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"invalid_arguments": arguments}


def merged(messages: Iterable[tuple[str, list[object]]]) -> Iterator[dict[str, object]]:
    """Neighbours of one role as one message, for vendors that want the roles to alternate."""
    role, content = "", list[object]()
    for next_role, parts in messages:
        if role and next_role != role and content:
            yield {"role": role, "content": content}
            content = []
        role = next_role
        content = [*content, *parts]
    if content:
        yield {"role": role, "content": content}


def leading_system(call: Call) -> tuple[list[TextPart], tuple[Message, ...]]:
    """The system's texts, those that open the conversation included, and the other messages."""
    texts = [TextPart(text=call.system)] if call.system else []
    messages, place = call.messages, 0
    while place < len(messages) and messages[place].role in ("system", "developer"):
        texts += [part for part in messages[place].parts if isinstance(part, TextPart)]
        place += 1
    return texts, messages[place:]


def as_user(message: Message) -> Message:
    """A system message in the middle of a conversation, for vendors that know none there."""
    if message.role not in ("system", "developer"):
        return message
    text = f"<system>\n{text_of(message.parts)}\n</system>"
    return Message(role="user", parts=(TextPart(text=text),))


def openai_user(call: Call) -> tuple[str | None, dict[str, str] | None]:
    """The caller's own user as OpenAI takes it, and the rest of the metadata."""
    rest = {name: value for name, value in call.metadata.items() if name != "user_id"}
    user = call.metadata.get("user_id")
    if user is not None and len(user) > _LONGEST_USER:
        user = hashlib.sha256(user.encode()).hexdigest()
    return user or None, rest or None


def openai_effort(call: Call) -> str | None:
    """OpenAI knows efforts, no budgets; None leaves it to the model."""
    level, budget = call.reasoning.level, call.reasoning.budget
    if level == "off" or (level == "auto" and budget is None):
        return None
    if level != "auto" or budget is None:
        return level
    if budget <= _MINIMAL_BUDGET:
        return "minimal"
    if budget <= _LOW_BUDGET:
        return "low"
    return "medium" if budget <= _MEDIUM_BUDGET else "high"
