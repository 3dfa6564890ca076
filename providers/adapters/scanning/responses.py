"""Passed-on responses."""

from __future__ import annotations

from typing import Final

import msgspec

from providers.adapters import usage, wire
from providers.adapters.scanning.base import DONE, Scanner, decoded, size_of, whole
from providers.types import OpenItem, Raw, StopReason

# Not yet content: another account may still be tried when the vendor breaks off here.
_QUIET_ITEMS: Final = frozenset({"message", "reasoning"})


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created_at: object = None
    status: str | None = None
    usage: dict[str, object] | None = None
    error: object = None
    incomplete_details: _Incomplete | None = None
    service_tier: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: object = None


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    sequence_number: int | None = None
    response: _Response | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    item: Raw = Raw()
    delta: object = None
    code: object = None
    error: object = None


_responses: Final = msgspec.json.Decoder(_ResponsesEvent)
_items: Final = msgspec.json.Decoder(_Item)


class ResponsesScanner(Scanner):
    """OpenAI's responses; it keeps what is open, for a broken answer ends with its whole output."""

    def __init__(self) -> None:
        super().__init__()
        self._has_calls = False
        self._final = _Response()

    def scan(self, data: bytes) -> int:
        if data == DONE:
            self.is_over = True
            return 0
        event = decoded(_responses, data)
        if event is None:
            return 0
        if event.sequence_number is not None:
            self.unfinished.sequence = event.sequence_number
        if event.type.endswith(".delta"):
            return self._grew(event, event.delta) if isinstance(event.delta, str) else 0
        if event.response is not None and not self.has_started:
            self._started(event.response)
        match event.type:
            case "response.output_item.added":
                return self._opened(event)
            case "response.output_item.done":
                self.unfinished.open_items.pop(event.output_index, None)
                self.unfinished.output[event.output_index] = Raw(bytes(event.item))
            case "response.completed" | "response.incomplete" | "response.failed":
                self._ended(event.response or _Response())
            case "error":
                code = event.code if isinstance(event.code, str) else ""
                raise wire.failure(0, (code, *wire.codes_of(event.error)))
        return 0

    def _started(self, answer: _Response) -> None:
        self.has_started = True
        self.unfinished.answer_id = answer.id or ""
        self.unfinished.model = answer.model or ""
        self.unfinished.created_s = whole(answer.created_at)

    def _opened(self, event: _ResponsesEvent) -> int:
        item = decoded(_items, bytes(event.item) or b"{}") or _Item()
        self._has_calls = self._has_calls or item.type == "function_call"
        self.has_content = self.has_content or item.type not in _QUIET_ITEMS
        self.unfinished.open_items[event.output_index] = OpenItem(
            item=Raw(bytes(event.item)), id=item.id or ""
        )
        return self._wrote(size_of(item.name))

    def _grew(self, event: _ResponsesEvent, text: str) -> int:
        item = self.unfinished.open_items.get(event.output_index)
        if item is not None:
            item.kind = event.type[len("response.") : -len(".delta")]
            place = event.content_index or event.summary_index
            item.texts.setdefault(place, []).append(text)
        return self._wrote(size_of(text))

    def _ended(self, answer: _Response) -> None:
        if answer.usage:
            self._count(usage.openai, answer.usage, answer.service_tier)
        if answer.status == "failed" or answer.error is not None:
            raise wire.failure(0, wire.codes_of(answer.error))
        self._final = answer
        self.is_ending = self.is_over = self.has_ended = True

    def reason(self) -> StopReason:
        details = self._final.incomplete_details
        if details is not None:
            is_filter = details.reason == "content_filter"
            return StopReason.CONTENT_FILTER if is_filter else StopReason.LENGTH
        return StopReason.TOOL_CALLS if self._has_calls else StopReason.END
