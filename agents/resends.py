"""A client's resent history as turns that find their place again. Pure.

A turn is what stands between two answers: a person's words, or results of tools. Its digest covers
it and every turn before, so equal digests mean: asked the same way so far. Answers are left out,
because clients shorten them; of tool results only the call ids count, because clients clear old
ones; reminders that a client mixes into the words are left out, because they come and go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from providers.types import AnyPart, Message, TextPart, ThinkingPart, ToolResultPart

# Claude Code and Cline put these into messages, and leave them out of later requests.
_ASIDES: Final = re.compile(
    r"<(system-reminder|environment_details)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE
)
_THOUGHT: Final = re.compile(
    r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE
)
_INSTRUCTIONS: Final = ("system", "developer")
MAX_TITLE_CHARS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """`before` are the answers that the client sent in front of it, as the client has them."""

    messages: tuple[Message, ...]
    before: tuple[Message, ...]
    digest: bytes


def turns(messages: Sequence[Message]) -> list[Turn]:
    """The turns of a history, oldest first; answers after the last are no turn's."""
    found: list[Turn] = []
    before: list[Message] = []
    said: list[Message] = []
    digest = b""
    for message in (*messages, None):
        if message is not None and message.role in _INSTRUCTIONS:
            continue
        if message is not None and message.role != "assistant":
            said.append(message)
            continue
        if said:
            digest = hashlib.sha256(digest + _fingerprint(said)).digest()
            found.append(Turn(messages=tuple(said), before=tuple(before), digest=digest))
            before, said = [], []
        if message is not None:
            before.append(message)
    return found


def words(messages: Iterable[Message]) -> str:
    """What a person said in some messages, without a client's reminders."""
    texts = (
        _ASIDES.sub("", part.text).strip()
        for message in messages
        for part in message.parts
        if isinstance(part, TextPart)
    )
    return "\n".join(text for text in texts if text)


def title(parts: Sequence[AnyPart]) -> str:
    """The name in an answer that was asked for one: a line, or a JSON object's `title`."""
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    text = _THOUGHT.sub("", text).strip()
    if text.startswith(("{", "```")):
        text = _of_json(text.removeprefix("```json").removeprefix("```").removesuffix("```"))
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    name = " ".join(first.strip("\"'`*# ").split())
    return name if len(name) <= MAX_TITLE_CHARS else name[: MAX_TITLE_CHARS - 1] + "…"


def _of_json(text: str) -> str:
    try:
        value = msgspec.json.decode(text, type=dict[str, object]).get("title")
    except (msgspec.MsgspecError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def _fingerprint(said: Sequence[Message]) -> bytes:
    calls = [
        part.tool_use_id
        for message in said
        for part in message.parts
        if isinstance(part, ToolResultPart)
    ]
    return hashlib.sha256(msgspec.json.encode([words(said), calls])).digest()


def readable(message: Message) -> tuple[AnyPart, ...]:
    """The parts of a message that a conversation keeps: empty texts and thoughts say nothing."""
    return tuple(
        part
        for part in message.parts
        if not (isinstance(part, TextPart | ThinkingPart) and not part.text)
    )
