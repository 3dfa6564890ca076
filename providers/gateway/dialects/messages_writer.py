"""Our chunks as the events of an Anthropic message.

Its clients read one block after the other, so blocks never overlap: while a tool call is being
written, what belongs to others waits. A call is over when its end is told or its arguments are a
whole object; text and thinking are over when another block begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from ideplatform.kit.errors import PlatformError
from providers.gateway.dialects import errors, figures, messages_blocks
from providers.gateway.dialects.contract import Opening
from providers.gateway.dialects.messages_blocks import (
    DELTAS,
    EMPTY,
    REFUSAL,
    TEXT,
    THINKING,
    WHOLE,
    Block,
)
from providers.gateway.dialects.wire import encode
from providers.types import (
    Chunk,
    Citation,
    DialectName,
    Image,
    Opaque,
    Passed,
    RedactedThinking,
    Refusal,
    Started,
    Stop,
    StopReason,
    Text,
    Thinking,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    ToolResult,
    Usage,
)

UNSAID: Final = frozenset({StopReason.BUDGET, StopReason.CANCELLED})
_REASONS: Final = {
    StopReason.END: "end_turn",
    StopReason.LENGTH: "max_tokens",
    StopReason.TOOL_CALLS: "tool_use",
    StopReason.STOP_SEQUENCE: "stop_sequence",
    StopReason.CONTENT_FILTER: "refusal",
    StopReason.REFUSAL: "refusal",
    StopReason.PAUSE: "pause_turn",
    StopReason.COMPACTION: "compaction",
    # What was cut must not look whole.
    StopReason.BUDGET: "max_tokens",
    StopReason.CANCELLED: "max_tokens",
}
_DELTA: Final = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":'
)  # fmt: skip
_START: Final = (
    b"event: content_block_start\n"
    b'data: {"type":"content_block_start","index":%d,"content_block":'
)  # fmt: skip
_STOP: Final = (
    b"event: content_block_stop\n"
    b'data: {"type":"content_block_stop","index":%d}\n\n'
)  # fmt: skip
_EVENT_END: Final = b"}\n\n"
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessagesWriter:
    """One streamed message: its start, its blocks, the reason with the usage, its stop."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._open: Block | None = None
        self._number = -1  # of the block that was shown last
        self._delta_lead = self._text_lead = b""  # of the open block
        self._waiting: list[Block] = []
        self._calls: dict[int, Block] = {}
        self._fed: Block | None = None
        self._passed: int | None = None
        self._has_refused = self._has_ended = False

    def start(self, started: Started) -> bytes:
        """The vendor's input figures are not known yet; the last event tells them."""
        del started
        message: dict[str, object] = {
            "id": self._opening.answer_id,
            "type": "message",
            "role": "assistant",
            "model": self._opening.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        event = encode({"type": "message_start", "message": message})
        return b"event: message_start\ndata: " + event + b"\n\n" + _PING

    def chunk(self, chunk: Chunk) -> bytes:
        say = self._SAYS.get(type(chunk))
        return say(self, chunk) if say is not None else b""

    def end(self, usage: Usage, stop: Stop) -> bytes:
        if self._has_ended:
            return b""
        for block in self._calls.values():
            block.is_over = True
        told = self._advance() + self._close()
        if self._passed is not None:
            told += _STOP % self._passed
        event = {
            "type": "message_delta",
            "delta": stop_members(stop.reason, self._opening, has_refused=self._has_refused),
            "usage": figures.messages_delta(usage),
            **figures.remarks(usage, stop.reason, unsaid=UNSAID),
        }
        return told + b"event: message_delta\ndata: " + encode(event) + b"\n\n" + _MESSAGE_STOP

    def fail(self, error: PlatformError) -> bytes:
        request_id = str(self._opening.asked.call.request_id)
        return b"event: error\ndata: " + errors.anthropic(error, request_id=request_id) + b"\n\n"

    def _text(self, chunk: Text) -> bytes:
        return self._grow(TEXT, chunk.index, chunk.text)

    def _thinking(self, chunk: Thinking) -> bytes:
        return self._grow(THINKING, chunk.index, chunk.text)

    def _refusal(self, chunk: Refusal) -> bytes:
        self._has_refused = True
        return self._grow(REFUSAL, -1, chunk.text)

    def _grow(self, kind: str, index: int, text: str) -> bytes:
        block = self._open
        if block is not None and block.index == index and block.kind == kind:
            return self._text_lead + encode(text) + b"}}\n\n"
        delta = DELTAS[kind] + encode(text) + b"}"
        return self._add(kind, index, delta)

    def _add(self, kind: str, index: int, delta: bytes) -> bytes:
        """A delta of a block that may be open, may wait, or begins with it."""
        block = self._growing(kind, index)
        if block is not None:
            return self._feed(block, delta)
        return self._begin(Block(kind, index, EMPTY[kind], [delta]))

    def _growing(self, kind: str, index: int) -> Block | None:
        last = self._waiting[-1] if self._waiting else self._open
        if last is None or last.is_over or (last.kind, last.index) != (kind, index):
            return None
        return last

    def _feed(self, block: Block, delta: bytes) -> bytes:
        turned, self._fed = self._fed is self._open, block
        if block is self._open:
            return self._delta_lead + delta + _EVENT_END
        block.deltas.append(delta)
        # Whoever writes another block may have finished the open one: tried once per turn.
        return self._advance() if turned else b""

    def _begin(self, block: Block) -> bytes:
        self._waiting.append(block)
        self._fed = block
        return self._advance()

    def _advance(self) -> bytes:
        """Show what waits, until a call that is being written must be waited for."""
        told: list[bytes] = []
        while self._waiting and not (self._open is not None and self._open.is_busy()):
            told += (self._close(), self._show(self._waiting.pop(0)))
        return b"".join(told)

    def _show(self, block: Block) -> bytes:
        self._number += 1
        lead = _DELTA % self._number
        told = [_START % self._number, block.opening, _EVENT_END]
        for delta in block.deltas:
            told += (lead, delta, _EVENT_END)
        block.deltas.clear()
        self._open = block
        self._delta_lead = lead
        self._text_lead = lead + DELTAS.get(block.kind, b"")
        if block.is_over:
            told.append(self._close())
        return b"".join(told)

    def _close(self) -> bytes:
        block, self._open = self._open, None
        if block is None:
            return b""
        block.is_over = True
        return _STOP % self._number

    def _signature(self, chunk: ThinkingSignature) -> bytes:
        signed = encode({"type": "signature_delta", "signature": chunk.signature})
        told = self._add(THINKING, chunk.index, signed)
        block = self._growing(THINKING, chunk.index)
        if block is None:
            return told
        block.is_over = True
        return told + self._close() if block is self._open else told

    def _call(self, chunk: ToolCall) -> bytes:
        """Google's signature of a call comes back as that of an empty thought before it."""
        told = b""
        if chunk.signature:
            told = self._begin(self._signed(chunk.signature))
        block = self._calls[chunk.index] = messages_blocks.called(chunk)
        return told + self._begin(block)

    def _signed(self, signature: str) -> Block:
        delta = encode({"type": "signature_delta", "signature": signature})
        return Block(WHOLE, -1, EMPTY[THINKING], [delta], is_over=True)

    def _arguments(self, chunk: ToolArguments) -> bytes:
        block = self._calls.get(chunk.index)
        if block is None or (block.is_over and block not in self._waiting):
            return b""
        block.arguments.append(chunk.delta)
        if block is self._open and not self._waiting:
            self._fed = block
            return self._text_lead + encode(chunk.delta) + b"}}\n\n"
        return self._feed(block, DELTAS["tool"] + encode(chunk.delta) + b"}")

    def _call_end(self, chunk: ToolCallEnd) -> bytes:
        block = self._calls.get(chunk.index)
        if block is None:
            return b""
        block.is_over = True
        return self._close() + self._advance() if block is self._open else b""

    def _redacted(self, chunk: RedactedThinking) -> bytes:
        return self._whole(messages_blocks.redacted(chunk.data))

    def _image(self, chunk: Image) -> bytes:
        return self._whole(messages_blocks.image(chunk.media_type, chunk.data))

    def _result(self, chunk: ToolResult) -> bytes:
        return b"".join(self._whole(members) for members in messages_blocks.ran(chunk))

    def _whole(self, members: dict[str, object]) -> bytes:
        return self._begin(Block(WHOLE, -1, encode(members), is_over=True))

    def _citation(self, chunk: Citation) -> bytes:
        block = self._growing(TEXT, chunk.index)
        if block is None or not chunk.url:
            return b""
        cited = {"type": "citations_delta", "citation": messages_blocks.citation(chunk)}
        return self._feed(block, encode(cited))

    def _opaque(self, chunk: Opaque) -> bytes:
        if chunk.dialect is not DialectName.MESSAGES:
            return b""
        block = messages_blocks.opaque(chunk.raw)
        return self._begin(block) if block is not None else b""

    def _pass(self, chunk: Passed) -> bytes:
        self._has_ended = self._has_ended or chunk.is_ending
        self._passed = chunk.unfinished.block
        return chunk.data

    _SAYS: ClassVar[dict[type[Chunk], Callable[[Any, Any], bytes]]] = {
        Text: _text,
        Thinking: _thinking,
        ThinkingSignature: _signature,
        RedactedThinking: _redacted,
        ToolCall: _call,
        ToolArguments: _arguments,
        ToolCallEnd: _call_end,
        Refusal: _refusal,
        Image: _image,
        Citation: _citation,
        ToolResult: _result,
        Opaque: _opaque,
        Passed: _pass,
    }


def stop_members(reason: StopReason, opening: Opening, *, has_refused: bool) -> dict[str, object]:
    """Why the answer ended. Which stop sequence was met is known when there was one to meet."""
    if has_refused and reason is StopReason.END:
        reason = StopReason.REFUSAL
    stops = opening.asked.call.stop
    met = stops[0] if reason is StopReason.STOP_SEQUENCE and len(stops) == 1 else None
    members: dict[str, object] = {"stop_reason": _REASONS[reason], "stop_sequence": met}
    if _REASONS[reason] == "refusal":
        members["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return members
