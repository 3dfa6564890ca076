"""Passed-on messages."""

from __future__ import annotations

from typing import Final

import msgspec

from providers.adapters import usage, wire
from providers.adapters.scanning.base import Scanner, decoded, size_of
from providers.types import StopReason

# Not yet content: another account may still be tried when the vendor breaks off here.
_QUIET_BLOCKS: Final = frozenset({"text", "thinking"})


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: dict[str, object] | None = None


class _Block(msgspec.Struct):
    type: str = ""
    name: object = None
    text: object = None
    thinking: object = None


class _MessagesDelta(msgspec.Struct):
    text: object = None
    thinking: object = None
    partial_json: object = None
    stop_reason: str | None = None


class _MessagesEvent(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _MessagesDelta | None = None
    usage: dict[str, object] | None = None
    error: object = None


_messages: Final = msgspec.json.Decoder(_MessagesEvent)


class MessagesScanner(Scanner):
    """Anthropic's messages; usage comes twice and is cumulative."""

    def __init__(self) -> None:
        super().__init__()
        self._figures: dict[str, object] = {}
        self._reason: StopReason | None = None

    def scan(self, data: bytes) -> int:
        event = decoded(_messages, data)
        if event is None:
            return 0
        match event.type:
            case "content_block_delta":
                return self._wrote(_grown(event.delta))
            case "content_block_start":
                self.unfinished.block = event.index
                return self._opened(event.content_block or _Block())
            case "content_block_stop":
                self.unfinished.block = None
            case "message_start":
                self._started(event.message or _Message())
            case "message_delta":
                self._ended(event)
            case "message_stop":
                self.is_ending = self.is_over = True
            case "error":
                raise wire.failure(0, wire.codes_of(event.error))
        return 0

    def _started(self, message: _Message) -> None:
        self.has_started = True
        self.unfinished.answer_id = message.id or ""
        self.unfinished.model = message.model or ""
        self._told(message.usage)

    def _opened(self, block: _Block) -> int:
        if block.type not in _QUIET_BLOCKS:
            self.has_content = True
        return self._wrote(size_of(block.name) + size_of(block.text) + size_of(block.thinking))

    def _ended(self, event: _MessagesEvent) -> None:
        if event.delta is not None and event.delta.stop_reason:
            named = event.delta.stop_reason
            self._reason = wire.MESSAGES_REASONS.get(named, StopReason.END)
            self.is_ending = self.has_ended = True
        self._told(event.usage)

    def _told(self, figures: dict[str, object] | None) -> None:
        if figures:
            self._figures |= {name: value for name, value in figures.items() if value is not None}
            tier = self._figures.get("service_tier")
            known = tier if tier in ("priority", "batch") and isinstance(tier, str) else None
            self._count(usage.anthropic, self._figures, known)

    def reason(self) -> StopReason:
        return self._reason or StopReason.END


def _grown(delta: _MessagesDelta | None) -> int:
    if delta is None:
        return 0
    return size_of(delta.text) + size_of(delta.thinking) + size_of(delta.partial_json)
