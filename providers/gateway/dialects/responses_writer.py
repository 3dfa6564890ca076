"""Our chunks as the events of a streamed response, numbered from 0 without a gap.

`created`, `in_progress`; each item `output_item.added`, its parts and deltas, its `done` events,
`output_item.done`; at last `completed`, `incomplete` or `failed` with the whole object. Texts and
thoughts end where another block begins; calls that run in parallel stay open beside each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from ideplatform.kit.errors import PlatformError
from providers.gateway.dialects import responses_cut, responses_signed
from providers.gateway.dialects import responses_object as objects
from providers.gateway.dialects.contract import Opening
from providers.gateway.dialects.responses_blocks import Block, Call, Events, Message, Reasoning
from providers.gateway.dialects.responses_object import Ending, Item, ResponseObject
from providers.gateway.dialects.wire import one_line
from providers.types import (
    Chunk,
    Citation,
    DialectName,
    Image,
    Opaque,
    Passed,
    Raw,
    RedactedThinking,
    Refusal,
    ResponseState,
    Started,
    Stop,
    Text,
    Thinking,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    ToolResult,
    Unfinished,
    Usage,
)

_RUNNING: Final = ("response.created", "response.in_progress")


class ResponsesWriter:
    """One streamed response."""

    def __init__(self, opening: Opening) -> None:
        self._names = opening.asked.tool_names
        self._base = opening.answer_id.removeprefix("resp_")
        self._object = ResponseObject(opening)
        self._events = Events()
        self._output: list[object] = []  # by output index; None while the item is open
        self._block: Message | Reasoning | None = None
        self._calls: dict[int, Call] = {}
        self._has_refused = False
        self._begun: Unfinished | None = None  # of an answer that is passed on
        self._has_ended = False

    def start(self, started: Started) -> bytes:
        del started
        opening = self._object.encoded(ResponseState.IN_PROGRESS, [], {})
        return b"".join(self._events.event(kind, b'"response":' + opening) for kind in _RUNNING)

    def chunk(self, chunk: Chunk) -> bytes:
        say = self._says.get(type(chunk))
        return say(self, chunk) if say is not None else b""

    def end(self, usage: Usage, stop: Stop) -> bytes:
        if self._has_ended:
            return b""
        ended = objects.ending(usage, stop, has_refused=self._has_refused)
        if self._begun is not None:
            return self._cut(self._begun, ended)
        closing = self._close_all(status=ended.item_status)
        return closing + self._terminal(ended, self._output)

    def fail(self, error: PlatformError) -> bytes:
        if self._has_ended:
            return b""
        ended = objects.failure(error)
        if self._begun is not None:
            return self._cut(self._begun, ended)
        open_items = {block.place: block.item(status="incomplete") for block in self._open()}
        output = [open_items.get(place, item) for place, item in enumerate(self._output)]
        return self._terminal(ended, output)

    def _terminal(self, ended: Ending, output: list[object]) -> bytes:
        self._has_ended = True
        whole = self._object.encoded(ended.state, output, ended.members)
        return self._events.event(ended.event, b'"response":' + whole)

    def _cut(self, begun: Unfinished, ended: Ending) -> bytes:
        """The end of an answer that the vendor's own bytes left open."""
        self._object.rename(begun.answer_id, begun.created_s)
        self._events.count = begun.sequence + 1
        closing, output = responses_cut.closed(begun, self._events)
        return closing + self._terminal(ended, output)

    def _open(self) -> list[Block]:
        return [*([self._block] if self._block else []), *self._calls.values()]

    def _opened(self, block: Block) -> bytes:
        self._output.append(None)
        return block.begin(self._events)

    def _closed(self, block: Block, *, status: str = "completed") -> bytes:
        told = block.end(self._events, status=status)
        self._output[block.place] = block.item(status=status)
        return told

    def _close_block(self, *, status: str = "completed") -> bytes:
        block, self._block = self._block, None
        return self._closed(block, status=status) if block is not None else b""

    def _close_all(self, *, status: str) -> bytes:
        """Only what was written last can have been cut."""
        open_items = sorted(self._open(), key=lambda block: block.place)
        last = len(self._output) - 1
        told = b"".join(
            self._closed(block, status=status if block.place == last else "completed")
            for block in open_items
        )
        self._block = None
        self._calls.clear()
        return told

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._base}_{len(self._output)}"

    def _message(self) -> tuple[Message, bytes]:
        """The open message, or a new one and what begins it."""
        if type(self._block) is Message:
            return self._block, b""
        told = self._close_block()
        message = Message(len(self._output), self._id("msg"))
        self._block = message
        return message, told + self._opened(message)

    def _text(self, chunk: Text) -> bytes:
        block = self._block
        if type(block) is Message and block.key == chunk.index:
            return block.delta(chunk.text, self._events)
        message, told = self._message()
        told += message.open_text(chunk.index, self._events)
        return told + message.delta(chunk.text, self._events)

    def _refusal(self, chunk: Refusal) -> bytes:
        self._has_refused = True
        message, told = self._message()
        told += message.open_refusal(self._events)
        return told + message.delta(chunk.text, self._events)

    def _citation(self, chunk: Citation) -> bytes:
        block = self._block
        if not chunk.url or type(block) is not Message or block.key != chunk.index:
            return b""
        return block.cite(chunk, self._events)

    def _thinking(self, chunk: Thinking) -> bytes:
        block = self._block
        if type(block) is Reasoning and block.key == chunk.index:
            return block.delta(chunk.text, self._events)
        told = self._close_block()
        thought = self._block = Reasoning(len(self._output), self._id("rs"), chunk.index)
        return told + self._opened(thought) + thought.delta(chunk.text, self._events)

    def _signature(self, chunk: ThinkingSignature) -> bytes:
        block = self._block
        if type(block) is Reasoning and block.key == chunk.index:
            block.signature = chunk.signature
            return self._close_block()
        return self._reason(responses_signed.thought("", chunk.signature))

    def _redacted(self, chunk: RedactedThinking) -> bytes:
        return self._reason(responses_signed.redacted(chunk.data))

    def _reason(self, encrypted: str) -> bytes:
        """A reasoning item without a text of its own."""
        item = objects.reasoning(self._id("rs"), "", encrypted)
        return self._whole(item, item)

    def _whole(self, opening: object, item: object, between: tuple[str, ...] = ()) -> bytes:
        """An item that is known at once; `between` are kinds of events of its own."""
        told = self._close_block()
        place = len(self._output)
        self._output.append(item)
        told += self._events.item("added", place, opening)
        if isinstance(item, dict):
            for kind in between:
                told += self._events.of_item(kind, place, str(item["id"]), {})
        return told + self._events.item("done", place, item)

    def _call(self, chunk: ToolCall) -> bytes:
        told = self._close_block()
        if (before := self._calls.pop(chunk.index, None)) is not None:
            told += self._closed(before)
        if chunk.signature:
            told += self._reason(responses_signed.of_call(chunk.id, chunk.signature))
        tool = self._names.get(chunk.name)
        item_id = self._id("ctc" if tool and tool.is_custom else "fc")
        call = Call(len(self._output), item_id, chunk.id, chunk.name, tool)
        self._calls[chunk.index] = call
        return told + self._opened(call)

    def _arguments(self, chunk: ToolArguments) -> bytes:
        call = self._calls.get(chunk.index)
        return call.delta(chunk.delta, self._events) if call is not None else b""

    def _call_end(self, chunk: ToolCallEnd) -> bytes:
        call = self._calls.pop(chunk.index, None)
        return self._closed(call) if call is not None else b""

    def _result(self, chunk: ToolResult) -> bytes:
        item_id = self._id("mcp")
        item = objects.tool_result(item_id, chunk.name, chunk.text, is_error=chunk.is_error)
        opening: Item = item | {"status": "in_progress", "output": None, "error": None}
        end = "failed" if chunk.is_error else "completed"
        kinds = ("response.mcp_call.in_progress", f"response.mcp_call.{end}")
        return self._whole(opening, item, kinds)

    def _image(self, chunk: Image) -> bytes:
        item_id = self._id("ig")
        kind = "response.image_generation_call"
        return self._whole(
            objects.image(item_id, chunk.media_type, None, status="in_progress"),
            objects.image(item_id, chunk.media_type, chunk.data, status="completed"),
            (f"{kind}.in_progress", f"{kind}.completed"),
        )

    def _opaque(self, chunk: Opaque) -> bytes:
        if chunk.dialect is not DialectName.RESPONSES:
            return b""
        raw = Raw(one_line(chunk.raw))
        return self._whole(raw, raw) if bytes(raw).startswith(b"{") else b""

    def _passed(self, chunk: Passed) -> bytes:
        self._begun = chunk.unfinished
        self._has_ended = self._has_ended or chunk.is_ending
        return chunk.data

    _says: ClassVar[dict[type[Chunk], Callable[[ResponsesWriter, Any], bytes]]] = {
        Text: _text,
        Refusal: _refusal,
        Citation: _citation,
        Thinking: _thinking,
        ThinkingSignature: _signature,
        RedactedThinking: _redacted,
        ToolCall: _call,
        ToolArguments: _arguments,
        ToolCallEnd: _call_end,
        ToolResult: _result,
        Image: _image,
        Opaque: _opaque,
        Passed: _passed,
    }
