"""Answers of ``POST /v1/messages``: blocks in sequence, usage split over start and delta."""

import msgspec

from providers.simulator import envelopes, usages
from providers.simulator.answers import Answer, short_id
from providers.simulator.conversation import Conversation
from providers.simulator.failures import VendorFailure
from providers.simulator.frames import Frame, encode, so_far
from providers.simulator.script import Turn

from . import Dialect, anthropic_messages

_STOPS = {"end": "end_turn", "length": "max_tokens", "tool_calls": "tool_use",
          "stop_sequence": "stop_sequence", "content_filter": "refusal", "refusal": "refusal",
          "pause": "pause_turn"}  # fmt: skip
Block = dict[str, object]


def whole(conversation: Conversation, answer: Answer) -> bytes:
    message = _message(conversation, _blocks(answer))
    message["stop_reason"] = _STOPS[answer.stop]
    message["stop_sequence"] = answer.stop_sequence
    if answer.raw_usage is not None:
        message["usage"] = answer.raw_usage
    elif answer.reported:
        message["usage"] = usages.anthropic(answer.reported)
    return msgspec.json.encode(message)


def _message(conversation: Conversation, content: list[Block]) -> dict[str, object]:
    return {
        "id": short_id("msg_", conversation.digest),
        "type": "message",
        "role": "assistant",
        "model": conversation.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _blocks(answer: Answer) -> list[Block]:
    blocks: list[Block] = []
    if answer.thinking:
        words = "".join(answer.thinking)
        blocks.append({"type": "thinking", "thinking": words, "signature": answer.signature})
    if answer.redacted:
        blocks.append({"type": "redacted_thinking", "data": answer.redacted})
    blocks += answer.blocks
    if answer.text:
        cited = {"citations": _citations(answer)} if answer.citations else {}
        blocks.append({"type": "text", "text": "".join(answer.text), **cited})
    return blocks + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
        for call in answer.calls
    ]


def _citations(answer: Answer) -> list[Block]:
    return [
        {
            "type": "web_search_result_location",
            "url": one.url,
            "title": one.title,
            "cited_text": one.cited,
            "encrypted_index": "sim",
        }
        for one in answer.citations
    ]


def _input(arguments: str) -> object:
    """The arguments as an object; a whole answer cannot carry a script's broken JSON."""
    try:
        return msgspec.json.decode(arguments.encode()) if arguments else {}
    except msgspec.DecodeError:
        return {"raw": arguments}


class _Events:
    """Lays out events; deltas are joined from bytes."""

    def __init__(self, answer: Answer, turn: Turn) -> None:
        self.laid: list[Frame] = []
        self._answer = answer
        self._repeats = turn.cumulative_usage
        self._spent = [0, 0]  # output, reasoning
        self.index = -1

    def add(self, kind: str, fields: Block, *, spent: int = 0, is_done: bool = False) -> None:
        self._spent[False] += spent
        event = {"type": kind, **fields}
        data = b"event: " + kind.encode() + b"\ndata: " + encode(event) + b"\n\n"
        self.laid.append(Frame(data, spent, is_done=is_done))

    def open(self, block: Block, *, spent: int = 0) -> None:
        self.index += 1
        fields: Block = {"index": self.index, "content_block": block}
        self.add("content_block_start", fields, spent=spent)

    def close(self) -> None:
        self.add("content_block_stop", {"index": self.index})

    def deltas(
        self, kind: str, key: str, pieces: tuple[str, ...], *, is_reasoning: bool = False
    ) -> None:
        lead = (
            b"event: content_block_delta\ndata: "
            b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
            % (self.index, kind.encode(), key.encode())
        )
        for piece in pieces:
            self._spent[is_reasoning] += 1
            data = lead + encode(piece) + b"}}\n\n" + self._usage_so_far()
            self.laid.append(Frame(data, 1, is_reasoning))

    def _usage_so_far(self) -> bytes:
        """A server that repeats its cumulative usage does so in further ``message_delta``s."""
        if not self._repeats or self._answer.reported is None:
            return b""
        now = so_far(self._answer.reported, reasoning=self._spent[1], output=self._spent[0])
        event = {
            "type": "message_delta",
            "delta": {"stop_reason": None, "stop_sequence": None},
            "usage": usages.anthropic_delta(now),
        }
        return b"event: message_delta\ndata: " + encode(event) + b"\n\n"


def frames(conversation: Conversation, answer: Answer, turn: Turn) -> list[Frame]:
    """``message_start``, ``ping``, the blocks, ``message_delta``, ``message_stop``."""
    events = _Events(answer, turn)
    start, end = _usages(answer)
    events.add("message_start", {"message": {**_message(conversation, []), **start}})
    events.add("ping", {})
    if answer.is_strange:
        events.add("surprise", {"index": [], "delta": "?"})
    _lay_thinking(events, answer)
    for block in answer.blocks:
        _lay_block(events, block)
    if answer.text:
        events.open({"type": "text", "text": ""})
        events.deltas("text_delta", "text", answer.text)
        for citation in _citations(answer):
            delta: Block = {"type": "citations_delta", "citation": citation}
            events.add("content_block_delta", {"index": events.index, "delta": delta})
        events.close()
    for call in answer.calls:
        events.open({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, spent=1)
        events.deltas("input_json_delta", "partial_json", call.pieces)
        events.close()
    delta = {"stop_reason": _STOPS[answer.stop], "stop_sequence": answer.stop_sequence}
    events.add("message_delta", {"delta": delta, **end})
    events.add("message_stop", {}, is_done=True)
    return events.laid


def _lay_block(events: _Events, block: Block) -> None:
    """A server tool's call grows like any call's; a compaction like a text; the rest is whole."""
    delta: Block
    match block.get("type"):
        case "server_tool_use":
            delta = {"type": "input_json_delta", "partial_json": encode(block["input"]).decode()}
            events.open({**block, "input": {}})
        case "compaction":
            delta = {"type": "compaction_delta", "content": block["content"]}
            events.open({**block, "content": ""})
        case _:
            events.open(block)
            events.close()
            return
    events.add("content_block_delta", {"index": events.index, "delta": delta})
    events.close()


def _lay_thinking(events: _Events, answer: Answer) -> None:
    if answer.thinking:
        events.open({"type": "thinking", "thinking": "", "signature": ""})
        events.deltas("thinking_delta", "thinking", answer.thinking, is_reasoning=True)
        signed = {"type": "signature_delta", "signature": answer.signature}
        events.add("content_block_delta", {"index": events.index, "delta": signed})
        events.close()
    if answer.redacted:
        events.open({"type": "redacted_thinking", "data": answer.redacted})
        events.close()


def _usages(answer: Answer) -> tuple[dict[str, object], dict[str, object]]:
    """The usage of the first and of the last event."""
    if answer.raw_usage is not None:
        last = {"output_tokens": answer.raw_usage.get("output_tokens", 0)}
        return {"usage": answer.raw_usage}, {"usage": last}
    if answer.reported is None:
        return {}, {}
    return (
        {"usage": usages.anthropic_start(answer.reported)},
        {"usage": usages.anthropic_delta(answer.reported)},
    )


def failure_event(failure: VendorFailure, conversation: Conversation, _place: int) -> bytes:
    request_id = short_id("req_", conversation.digest)
    body = envelopes.anthropic(failure, request_id).body
    return b"event: error\ndata: " + body + b"\n\n"


DIALECT = Dialect(
    vendor="anthropic",
    operation="messages",
    read=anthropic_messages.read,
    whole=whole,
    frames=frames,
    failure_event=failure_event,
    envelope=envelopes.anthropic,
)
