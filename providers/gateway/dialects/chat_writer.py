"""Our chunks as chat completion chunks, and a whole answer as a chat completion.

Beyond OpenAI's own members: `reasoning_content` (DeepSeek's, which most clients show),
`reasoning_details` and `images` (OpenRouter's; the details bring signed reasoning back),
`extra_content.google.thought_signature` (Google's), `usage.cost` and `x_mundial` (ours). Entries
of lists carry an `index`, by which the SDKs join deltas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from ideplatform.kit.errors import PlatformError
from providers.gateway.dialects import errors, figures
from providers.gateway.dialects.contract import Opening
from providers.gateway.dialects.wire import data_url, encode, one_line
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
    ToolResult,
    Usage,
)

DONE: Final = b"data: [DONE]\n\n"
UNSAID: Final = frozenset(
    {StopReason.PAUSE, StopReason.COMPACTION, StopReason.BUDGET, StopReason.CANCELLED}
)
_REASONS: Final = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "content_filter",
    StopReason.PAUSE: "stop",
    StopReason.COMPACTION: "stop",
    # What was cut must not look whole.
    StopReason.BUDGET: "length",
    StopReason.CANCELLED: "length",
}
_DELTA_END: Final = b'},"logprobs":null,"finish_reason":null}]}\n\n'
_OBJECT_END: Final = _DELTA_END[1:]


class ChatWriter:
    """One streamed chat completion: the role, deltas, the reason, the usage, `[DONE]`."""

    def __init__(self, opening: Opening) -> None:
        self._asked = opening.asked
        self._set_head(opening.answer_id, opening.created_s, opening.model)
        self._tools: dict[int, bytes] = {}  # block -> what leads its argument deltas
        self._thoughts: dict[int, list[str]] = {}
        self._text_starts: dict[int, int] = {}
        self._chars = self._calls = self._details = 0
        self._images = self._annotations = self._results = 0
        self._has_refused = self._has_ended = False

    def start(self, started: Started) -> bytes:
        del started
        return self._delta({"role": "assistant", "content": "", "refusal": None})

    def chunk(self, chunk: Chunk) -> bytes:
        say = self._SAYS.get(type(chunk))
        return say(self, chunk) if say is not None else b""

    def end(self, usage: Usage, stop: Stop) -> bytes:
        if self._has_ended:
            return b""
        reason = finish_reason(
            stop.reason,
            has_refused=self._has_refused,
            uses_functions=self._asked.uses_functions,
        )
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}
        remarks = figures.remarks(usage, stop.reason, unsaid=UNSAID)
        last = {"choices": [], "usage": figures.chat(usage)} | figures.chat_tier(usage)
        return self._event({"choices": [choice]} | remarks) + self._event(last) + DONE

    def fail(self, error: PlatformError) -> bytes:
        request_id = str(self._asked.call.request_id)
        return b"data: " + errors.openai(error, request_id=request_id) + b"\n\n"

    def _set_head(self, answer_id: str, created_s: int, model: str) -> None:
        head = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
        }
        self._head = b"data: " + encode(head)[:-1] + b","
        self._lead = self._head + b'"choices":[{"index":0,"delta":'
        self._text_lead = self._lead + b'{"content":'
        self._thinking_lead = self._lead + b'{"reasoning_content":'

    def _event(self, members: dict[str, object]) -> bytes:
        return self._head + encode(members)[1:] + b"\n\n"

    def _delta(self, delta: dict[str, object]) -> bytes:
        return self._lead + encode(delta) + _OBJECT_END

    def _text(self, chunk: Text) -> bytes:
        text = chunk.text
        self._text_starts.setdefault(chunk.index, self._chars)
        self._chars += len(text)
        return self._text_lead + encode(text) + _DELTA_END

    def _thinking(self, chunk: Thinking) -> bytes:
        self._thoughts.setdefault(chunk.index, []).append(chunk.text)
        return self._thinking_lead + encode(chunk.text) + _DELTA_END

    def _signature(self, chunk: ThinkingSignature) -> bytes:
        """The whole thought again, with its signature: vendors want both back unchanged."""
        text = "".join(self._thoughts.pop(chunk.index, ()))
        return self._detail(signed_thought(text, chunk.signature))

    def _redacted(self, chunk: RedactedThinking) -> bytes:
        return self._detail(redacted_thought(chunk.data))

    def _detail(self, detail: dict[str, object]) -> bytes:
        detail["index"] = self._details
        self._details += 1
        return self._delta({"reasoning_details": [detail]})

    def _call(self, chunk: ToolCall) -> bytes:
        if self._asked.uses_functions:
            return self._first_function(chunk)
        number = self._calls
        self._calls += 1
        self._tools[chunk.index] = (
            self._lead + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % number
        )
        call = tool_call(chunk.id, chunk.name, "", chunk.signature)
        return self._delta({"tool_calls": [{"index": number} | call]})

    def _first_function(self, chunk: ToolCall) -> bytes:
        """Those words know one call of an answer."""
        if self._tools:
            return b""
        self._tools[chunk.index] = self._lead + b'{"function_call":{"arguments":'
        return self._delta({"function_call": {"name": chunk.name, "arguments": ""}})

    def _arguments(self, chunk: ToolArguments) -> bytes:
        lead = self._tools.get(chunk.index)
        if lead is None:
            return b""
        closing = b"}" if self._asked.uses_functions else b"}}]"
        return lead + encode(chunk.delta) + closing + _DELTA_END

    def _refusal(self, chunk: Refusal) -> bytes:
        self._has_refused = True
        return self._delta({"refusal": chunk.text})

    def _image(self, chunk: Image) -> bytes:
        image = image_of(data_url(chunk.media_type, chunk.data)) | {"index": self._images}
        self._images += 1
        return self._delta({"images": [image]})

    def _citation(self, chunk: Citation) -> bytes:
        start = self._text_starts.get(chunk.index)
        if not chunk.url or start is None:  # these words cite web pages only
            return b""
        cited = annotation(chunk, start, self._chars) | {"index": self._annotations}
        self._annotations += 1
        return self._delta({"annotations": [cited]})

    def _result(self, chunk: ToolResult) -> bytes:
        result = tool_result(chunk.id, chunk.name, chunk.text, is_error=chunk.is_error)
        result["index"] = self._results
        self._results += 1
        return self._delta({"x_mundial": {"tool_results": [result]}})

    def _opaque(self, chunk: Opaque) -> bytes:
        if chunk.dialect is not DialectName.CHAT:
            return b""
        raw = one_line(chunk.raw)
        return self._lead + raw + _OBJECT_END if raw.startswith(b"{") else b""

    def _passed(self, chunk: Passed) -> bytes:
        begun = chunk.unfinished
        self._has_ended = self._has_ended or chunk.is_ending
        self._set_head(begun.answer_id, begun.created_s, begun.model)
        return chunk.data

    _SAYS: ClassVar[dict[type[Chunk], Callable[[Any, Any], bytes]]] = {
        Text: _text,
        Thinking: _thinking,
        ThinkingSignature: _signature,
        RedactedThinking: _redacted,
        ToolCall: _call,
        ToolArguments: _arguments,
        Refusal: _refusal,
        Image: _image,
        Citation: _citation,
        ToolResult: _result,
        Opaque: _opaque,
        Passed: _passed,
    }


def finish_reason(reason: StopReason, *, has_refused: bool, uses_functions: bool) -> str:
    """A refusal that says so ends in order; one without a word must be seen as filtered."""
    if has_refused and reason is StopReason.REFUSAL:
        return "stop"
    if uses_functions and reason is StopReason.TOOL_CALLS:
        return "function_call"
    return _REASONS[reason]


def tool_call(call_id: str, name: str, arguments: str, signature: str) -> dict[str, object]:
    """A call as both the stream and the whole answer say it."""
    function = {"name": name, "arguments": arguments}
    call: dict[str, object] = {"id": call_id, "type": "function", "function": function}
    if signature:
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def signed_thought(text: str, signature: str) -> dict[str, object]:
    return {"type": "reasoning.text", "text": text, "signature": signature}


def redacted_thought(data: str) -> dict[str, object]:
    return {"type": "reasoning.encrypted", "data": data}


def image_of(url: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def annotation(citation: Citation, start: int, end: int) -> dict[str, object]:
    """A cited page; `start` and `end` are characters of the content."""
    place = {"start_index": start, "end_index": end, "url": citation.url, "title": citation.title}
    return {"type": "url_citation", "url_citation": place}


def tool_result(call_id: str, name: str, text: str, *, is_error: bool) -> dict[str, object]:
    return {"id": call_id, "name": name, "content": text, "is_error": is_error}
