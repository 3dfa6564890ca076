"""Helpers of the dialects: numbering of content blocks, parts of messages, arguments as objects."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import msgspec

from providers.types import AnyPart, ImagePart, Message, TextPart


class Numbers:
    """Block numbers in order of first appearance: kinds of blocks never share one."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def of(self, block: Hashable) -> int:
        return self._numbers.setdefault(block, len(self._numbers))


def text_of(parts: Iterable[AnyPart]) -> str:
    """The plain text of a message."""
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def data_url(part: ImagePart) -> str:
    return part.url or f"data:{part.media_type};base64,{part.data}"


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


def leading_system(system: str, messages: tuple[Message, ...]) -> tuple[str, tuple[Message, ...]]:
    """The system text, what opens the conversation included, and the messages that remain."""
    texts = [system] if system else []
    place = 0
    while place < len(messages) and messages[place].role in ("system", "developer"):
        texts.append(text_of(messages[place].parts))
        place += 1
    return "\n\n".join(texts), messages[place:]
