"""What a model is sent: the agent's instructions and as much of the conversation as fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from providers.types import (
    AnyPart,
    AudioPart,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

HISTORY_CHARS = 200_000
"""About 50,000 tokens of earlier conversation; older turns are left out as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A model request without its parameters."""

    system: str
    messages: tuple[Message, ...]


def compose(*, system: str, history: Sequence[Message]) -> Prompt:
    """The prompt of a new answer; `history` ends with what the person asked now."""
    return Prompt(system=system, messages=tuple(_paired(_recent(history))))


def _recent(history: Sequence[Message]) -> Sequence[Message]:
    """The newest turns within the budget; a turn begins with a person's message."""
    begin = size = 0
    for index in range(len(history) - 1, -1, -1):
        size += sum(_weight(part) for part in history[index].parts)
        if history[index].role == "user":
            if size > HISTORY_CHARS and index != _last_user(history):
                return history[begin:]
            begin = index
    return history


def _last_user(history: Sequence[Message]) -> int:
    return max((i for i, message in enumerate(history) if message.role == "user"), default=0)


def _paired(history: Sequence[Message]) -> list[Message]:
    """Without calls that were never answered: providers refuse a conversation that has them."""
    answered = {
        part.tool_use_id
        for message in history
        for part in message.parts
        if isinstance(part, ToolResultPart)
    }
    kept = (
        Message(
            role=message.role,
            parts=tuple(
                part
                for part in message.parts
                if not isinstance(part, ToolUsePart) or part.id in answered
            ),
        )
        for message in history
    )
    return [message for message in kept if message.parts]


def _weight(part: AnyPart) -> int:
    match part:
        case TextPart(text=text) | ThinkingPart(text=text) | RefusalPart(text=text):
            return len(text)
        case ToolResultPart(text=text, media=media):
            return len(text) + sum(map(_weight, media))
        case ToolUsePart(arguments=arguments):
            return len(arguments)
        case DocumentPart(text=text, data=data):
            return len(text) + len(data)
        case ImagePart(data=data) | AudioPart(data=data) | RedactedThinkingPart(data=data):
            return len(data)
        case OpaquePart(raw=raw):
            return len(bytes(raw))
