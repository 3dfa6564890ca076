"""The Response object and its output items, as both the stream and the whole answer say them.

Members of ours: `usage.cost`, US dollars as a decimal string, and `x_mundial`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from ideplatform.kit.errors import InvalidInput, PaymentRequired, PlatformError, TooManyRequests
from providers.errors import ContextExceeded, RateLimited
from providers.gateway.dialects import errors, figures, responses_signed
from providers.gateway.dialects.contract import Opening, ToolName
from providers.gateway.dialects.wire import encode, one_line
from providers.types import Citation, Raw, ResponseState, Stop, StopReason, Usage

Item = dict[str, object]
SERVER_LABEL: Final = "mundial"
_NOBODY: Final = ToolName(name="")
_DEFAULTS: Final[dict[str, bytes]] = {
    "instructions": b"null",
    "max_output_tokens": b"null",
    "metadata": b"{}",
    "parallel_tool_calls": b"true",
    "reasoning": b'{"effort":null,"summary":null}',
    "service_tier": b'"default"',
    "temperature": b"1.0",
    "text": b'{"format":{"type":"text"}}',
    "tool_choice": b'"auto"',
    "tools": b"[]",
    "top_p": b"1.0",
    "truncation": b'"disabled"',
}
_UNSAID: Final = frozenset({StopReason.PAUSE, StopReason.COMPACTION, StopReason.BUDGET})
_CUT: Final = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.BUDGET: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
}
# What clients of this dialect know how to treat; everything else is the server's fault to them.
_CODES: Final[tuple[tuple[type[PlatformError], str], ...]] = (
    (ContextExceeded, "context_length_exceeded"),
    (PaymentRequired, "insufficient_quota"),
    (TooManyRequests, "rate_limit_exceeded"),
    (RateLimited, "rate_limit_exceeded"),
    (InvalidInput, "invalid_prompt"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a response ended, in the dialect's words. `members` are of the Response object."""

    state: ResponseState
    members: Mapping[str, object]

    @property
    def event(self) -> str:
        """A cancelled response ends with the event of an incomplete one: there is no other."""
        is_cut = self.state is ResponseState.CANCELLED
        return f"response.{'incomplete' if is_cut else self.state.value}"

    @property
    def item_status(self) -> str:
        return "completed" if self.state is ResponseState.COMPLETED else "incomplete"


def ending(usage: Usage, stop: Stop, *, has_refused: bool = False) -> Ending:
    """A refusal that says so ends in order; one without a word was filtered."""
    reason = _CUT.get(stop.reason, "")
    if stop.reason is StopReason.REFUSAL and not has_refused:
        reason = "content_filter"
    state = ResponseState.INCOMPLETE if reason else ResponseState.COMPLETED
    if stop.reason is StopReason.CANCELLED:
        state = ResponseState.CANCELLED
    members: Item = {"usage": figures_of(usage)}
    if reason:
        members["incomplete_details"] = {"reason": reason}
    members |= figures.chat_tier(usage)
    return Ending(
        state=state, members=members | figures.remarks(usage, stop.reason, unsaid=_UNSAID)
    )


def failure(error: Exception) -> Ending:
    """A fault amid the answer; `x_mundial.code` is our own name of it."""
    code = next((word for kind, word in _CODES if isinstance(error, kind)), "server_error")
    members: Item = {"error": {"code": code, "message": errors.message(error)}}
    if isinstance(error, PlatformError):
        members["x_mundial"] = {"code": error.code}
    return Ending(state=ResponseState.FAILED, members=members)


def figures_of(usage: Usage) -> Item:
    """The `usage` of a Response: the input includes what the cache held, the output reasoning."""
    tokens = usage.tokens
    read = {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write}
    found: Item = {
        "input_tokens": tokens.input,
        "input_tokens_details": read,
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.total,
    }
    return found if usage.cost_usd is None else found | {"cost": usage.cost_usd}


class ResponseObject:
    """The object as every event of the response's life repeats it."""

    def __init__(self, opening: Opening) -> None:
        asked = opening.asked
        self._echo = {
            name: Raw(one_line(raw)) for name, raw in asked.echo.items() if bytes(raw) != b"null"
        }
        self._head: Item = {
            "id": opening.answer_id,
            "object": "response",
            "created_at": opening.created_s,
            "model": opening.model,
            "background": asked.in_background,
            "store": asked.is_stored,
            "previous_response_id": asked.previous_response_id or None,
            "error": None,
            "incomplete_details": None,
            "usage": None,
        }
        for name, value in _DEFAULTS.items():
            self._head[name] = Raw(value)

    @property
    def model(self) -> str:
        return str(self._head["model"])

    def rename(self, answer_id: str, created_s: int) -> None:
        """An answer that is passed on has the vendor's own name."""
        self._head |= {"id": answer_id, "created_at": created_s}

    def encoded(
        self, state: ResponseState, output: Sequence[object], members: Mapping[str, object]
    ) -> bytes:
        """The object in a state, as JSON on one line."""
        whole = self._head | self._echo | dict(members)
        return encode({**whole, "status": state.value, "output": output})


def text_part(text: str, annotations: Sequence[object] = ()) -> Item:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def message(item_id: str, content: Sequence[object], *, status: str) -> Item:
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def reasoning(item_id: str, text: str, encrypted: str | None) -> Item:
    """A thought. `encrypted` brings its signature back (see `responses_signed`)."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": encrypted}


def thought(item_id: str, text: str, signature: str) -> Item:
    encrypted = responses_signed.thought(text, signature) if signature else None
    return reasoning(item_id, text, encrypted)


def call(
    item_id: str, call_id: str, name: str, arguments: str, tool: ToolName | None, *, status: str
) -> Item:
    """A call by the client's own name of the tool."""
    tool = tool or _NOBODY
    item: Item = {
        "id": item_id,
        "type": "custom_tool_call" if tool.is_custom else "function_call",
        "status": status,
        "call_id": call_id,
        "name": tool.name or name,
    }
    if tool.namespace:
        item["namespace"] = tool.namespace
    told = custom_input(arguments) if tool.is_custom else arguments
    return item | {"input" if tool.is_custom else "arguments": told}


class _Input(msgspec.Struct):
    input: str


def custom_input(arguments: str) -> str:
    """The text for a custom tool; a model that wrote something else is taken at its word."""
    try:
        return msgspec.json.decode(arguments, type=_Input).input
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return arguments


def image(item_id: str, media_type: str, data: str | None, *, status: str) -> Item:
    return {
        "id": item_id,
        "type": "image_generation_call",
        "status": status,
        "output_format": media_type.rpartition("/")[2] or "png",
        "result": data,
    }


def tool_result(item_id: str, name: str, text: str, *, is_error: bool) -> Item:
    """A tool that ran on our side: the dialect knows such calls as those of an MCP server."""
    return {
        "id": item_id,
        "type": "mcp_call",
        "status": "failed" if is_error else "completed",
        "server_label": SERVER_LABEL,
        "name": name,
        "arguments": "{}",
        "output": None if is_error else text,
        "error": {"type": "mcp_tool_execution_error", "content": text} if is_error else None,
    }


def annotation(citation: Citation, start: int, end: int) -> Item:
    """A cited page; `start` and `end` are characters of the text."""
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": start,
        "end_index": end,
    }
