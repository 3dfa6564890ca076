"""What the gateway remembers of its calls, and in which words."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

import msgspec

from providers.types.calls import Message
from providers.types.parts import AnyPart


class ClientFamily(StrEnum):
    """The program that called the gateway."""

    CLAUDE_CODE = "claude-code"
    CODEX = "codex"
    OPENCODE = "opencode"
    CONTINUE = "continue"
    CLINE = "cline"
    QWEN_CODE = "qwen-code"
    AIDER = "aider"
    LLM = "llm"
    THEIA = "theia"
    OPENAI_SDK = "openai-sdk"
    ANTHROPIC_SDK = "anthropic-sdk"
    OTHER = "other"


class Purpose(StrEnum):
    """What a client wants of a call: an answer for its person, or a name for the conversation."""

    TURN = "turn"
    TITLE = "title"


class Capture(StrEnum):
    """How much of its gateway calls an organization keeps.

    `full`: request and answer; `metadata`: who, when, which model and how it ended; `off`: nothing.
    """

    FULL = "full"
    METADATA = "metadata"
    OFF = "off"


class CapturedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client sent, in our own words; pictures and documents are named, not kept."""

    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[str, ...] = ()


class CapturedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What it got. `model` is the one that answered; `stop` is empty when the answer was cut."""

    parts: tuple[AnyPart, ...]
    model: str = ""
    stop: str = ""
    usage_event_id: UUID | None = None
