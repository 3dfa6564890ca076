"""Content blocks of Anthropic's messages, as streams and whole answers say them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from providers.gateway.dialects import wire
from providers.gateway.dialects.wire import encode
from providers.types import Citation, ToolCall, ToolResult

Members = dict[str, object]

TEXT: Final = "text"
THINKING: Final = "thinking"
TOOL: Final = "tool"
REFUSAL: Final = "refusal"
WHOLE: Final = "whole"
SERVER_NAME: Final = "mundial"

_EMPTY_TEXT: Final = b'{"type":"text","text":""}'
_EMPTY_THINKING: Final = b'{"type":"thinking","thinking":"","signature":""}'
EMPTY: Final = {TEXT: _EMPTY_TEXT, REFUSAL: _EMPTY_TEXT, THINKING: _EMPTY_THINKING}
# What stands before the text of a delta, by the kind of its block.
DELTAS: Final = {
    TEXT: b'{"type":"text_delta","text":',
    REFUSAL: b'{"type":"text_delta","text":',
    THINKING: b'{"type":"thinking_delta","thinking":',
    TOOL: b'{"type":"input_json_delta","partial_json":',
}
# Arguments of this size are not tried for wholeness: such calls wait for their end.
_MAX_TRIED_CHARS: Final = 1_000_000
_EMPTY_INPUT: Final = msgspec.Raw(b"{}")
_COMPACTED: Final = ("content", "encrypted_content")


@dataclass(slots=True, eq=False)
class Block:
    """A block of an answer: our number of it, how it opens, the deltas that wait to be shown.

    `is_over`: nothing more belongs to it.
    """

    kind: str
    index: int
    opening: bytes
    deltas: list[bytes] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    is_over: bool = False

    def is_busy(self) -> bool:
        """Whether another block must wait for more of this one. Whole arguments are an end."""
        if self.kind != TOOL or self.is_over:
            return False
        if sum(map(len, self.arguments)) > _MAX_TRIED_CHARS:
            return True
        self.is_over = as_input("".join(self.arguments)) is not None
        return not self.is_over


def as_input(arguments: str) -> msgspec.Raw | None:
    """The arguments as a JSON object, None when they are none (yet)."""
    try:
        msgspec.json.decode(arguments, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.Raw(arguments.encode())


def tool_use(call_id: str, name: str, given: object) -> Members:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def called(call: ToolCall) -> Block:
    """A call of a client's tool, its arguments to come."""
    return Block(TOOL, call.index, encode(tool_use(call.id, call.name, {})))


def thought(text: str, signature: str) -> Members:
    return {"type": "thinking", "thinking": text, "signature": signature}


def redacted(data: str) -> Members:
    return {"type": "redacted_thinking", "data": data}


def image(media_type: str, data: str, url: str = "") -> Members:
    """A picture the model made, in the form of pictures in requests."""
    source: Members = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": {"type": "url", "url": url} if url else source}


def ran(result: ToolResult) -> tuple[Members, Members]:
    """A tool that ran on our side, as this dialect tells of tools of remote servers."""
    use: Members = {
        "type": "mcp_tool_use",
        "id": result.id,
        "name": result.name,
        "server_name": SERVER_NAME,
        "input": {},
    }
    outcome: Members = {
        "type": "mcp_tool_result",
        "tool_use_id": result.id,
        "is_error": result.is_error,
        "content": [{"type": "text", "text": result.text}],
    }
    return use, outcome


def citation(cited: Citation) -> Members:
    """A cited page; the vendor's own handle of it is not ours to give."""
    return {
        "type": "web_search_result_location",
        "cited_text": cited.cited,
        "encrypted_index": "",
        "title": cited.title,
        "url": cited.url,
    }


def opaque(raw: msgspec.Raw) -> Block | None:
    """A whole block of the vendor's as its stream lays it out; None when it is no block.

    Clients gather the input of tools and what was compacted from deltas, not from the opening.
    """
    members = wire.members(raw)
    if "type" not in members:
        return None
    deltas: list[bytes] = []
    if "input" in members:
        given = wire.one_line(members["input"]).decode()
        members["input"] = _EMPTY_INPUT
        deltas.append(DELTAS[TOOL] + encode(given) + b"}")
    elif bytes(members["type"]) == b'"compaction"':
        told = {name: members.pop(name) for name in _COMPACTED if name in members}
        deltas.append(encode({"type": "compaction_delta"} | told))
        members["content"] = msgspec.Raw(b"null")
    return Block(WHOLE, -1, wire.one_line(msgspec.Raw(encode(members))), deltas, is_over=True)
