"""Passed-on chat completions."""

from __future__ import annotations

from typing import Final

import msgspec

from providers.adapters import usage, wire
from providers.adapters.scanning.base import DONE, Scanner, decoded, size_of, whole
from providers.types import StopReason


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolDelta(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _ChatDelta(msgspec.Struct):
    content: object = None
    refusal: object = None
    reasoning: object = None
    reasoning_content: object = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _ChatDelta | None = None
    finish_reason: str | None = None


class _ChatEvent(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: object = None
    choices: list[_Choice] | None = None
    usage: dict[str, object] | None = None
    service_tier: str | None = None
    error: object = None


_chat: Final = msgspec.json.Decoder(_ChatEvent)


class ChatScanner(Scanner):
    """Chat completions. What follows the last reason is its end: usage and `[DONE]`."""

    def __init__(self) -> None:
        super().__init__()
        self._reason: StopReason | None = None
        self._has_calls = False

    @property
    def forgives_cuts(self) -> bool:
        return self._reason is not None

    def scan(self, data: bytes) -> int:
        if data == DONE:
            self.is_ending = self.is_over = self.has_ended = True
            return 0
        event = decoded(_chat, data)
        if event is None:
            return 0
        if event.error is not None:
            raise wire.failure(0, wire.codes_of(event.error))
        if not self.has_started:
            self._start(event)
        size = 0
        for choice in event.choices or ():
            size += self._choice(choice)
        ends = any(choice.finish_reason is not None for choice in event.choices or ())
        # With several choices, or a server that ends early, content may follow an end.
        self.is_ending = ends or (self.is_ending and not size)
        if event.usage:
            self._count(usage.openai, event.usage, event.service_tier)
        return self._wrote(size)

    def _start(self, event: _ChatEvent) -> None:
        self.has_started = True
        self.unfinished.answer_id = event.id or ""
        self.unfinished.model = event.model or ""
        self.unfinished.created_s = whole(event.created)

    def _choice(self, choice: _Choice) -> int:
        if choice.finish_reason is not None and choice.index == 0:
            self._reason = wire.CHAT_REASONS.get(choice.finish_reason, StopReason.END)
            self.has_ended = True
        delta = choice.delta
        if delta is None:
            return 0
        size = size_of(delta.content) + size_of(delta.refusal)
        size += size_of(delta.reasoning_content or delta.reasoning)
        for call in delta.tool_calls or ():
            self._has_calls = True
            if call.function is not None:
                size += size_of(call.function.name) + size_of(call.function.arguments)
        return size

    def reason(self) -> StopReason:
        reason = self._reason or StopReason.END
        if self._has_calls and reason is StopReason.END:  # several servers say "stop" after calls
            return StopReason.TOOL_CALLS
        return reason
