"""Parts: what a message consists of, whoever sent it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

Raw = msgspec.Raw
Role = Literal["system", "developer", "user", "assistant", "tool"]
CacheTime = Literal["", "5m", "1h"]


class DialectName(StrEnum):
    """The wire formats of the gateway's clients; vendors that speak one get its bytes as sent."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


class Part(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """A piece of a message. `cache`: the vendor may keep the prompt up to here for so long."""

    cache: CacheTime = ""


class TextPart(Part, frozen=True, tag="text", kw_only=True):
    text: str


class ImagePart(Part, frozen=True, tag="image", kw_only=True):
    """`data` is base64 of the bytes, or empty when `url` names them."""

    media_type: str
    data: str = ""
    url: str = ""


class DocumentPart(Part, frozen=True, tag="document", kw_only=True):
    """A PDF or a text: base64 `data`, or `url`, or plain `text`."""

    media_type: str
    name: str = ""
    data: str = ""
    url: str = ""
    text: str = ""


class AudioPart(Part, frozen=True, tag="audio", kw_only=True):
    """`data` is base64; `format` as the vendors name it, such as `wav`."""

    format: str
    data: str


class RefusalPart(Part, frozen=True, tag="refusal", kw_only=True):
    text: str


class OpaquePart(Part, frozen=True, tag="opaque", kw_only=True):
    """Something only its own dialect understands; another never gets it."""

    dialect: DialectName
    raw: Raw


class ThinkingPart(Part, frozen=True, tag="thinking", kw_only=True):
    """Reasoning and the vendor's signature, which must come back unchanged with tool results."""

    text: str
    signature: str = ""


class RedactedThinkingPart(Part, frozen=True, tag="redacted_thinking", kw_only=True):
    data: str


class ToolUsePart(Part, frozen=True, tag="tool_use", kw_only=True):
    """A call the model made; `arguments` is the JSON text it wrote (may be invalid JSON)."""

    id: str
    name: str
    arguments: str
    signature: str = ""


class ToolResultPart(Part, frozen=True, tag="tool_result", kw_only=True):
    tool_use_id: str
    text: str
    name: str = ""
    is_error: bool = False
    media: tuple[ImagePart | DocumentPart, ...] = ()


AnyPart = (
    TextPart
    | ImagePart
    | DocumentPart
    | AudioPart
    | ThinkingPart
    | RedactedThinkingPart
    | ToolUsePart
    | ToolResultPart
    | RefusalPart
    | OpaquePart
)
