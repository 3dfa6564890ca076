"""From a turn to an answer: pieces, ids, stop reason and the two accounts of its tokens."""

import hashlib
from dataclasses import dataclass

import msgspec

from . import coder, echo, signing, tokens
from .conversation import Conversation
from .script import Citation, Image, ToolCall, Turn, Usage

_CALL_PREFIX = {"openai": "call_", "anthropic": "toolu_", "google": "call_"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call ready to be sent: ``pieces`` re-join to its arguments."""

    id: str
    name: str
    pieces: tuple[str, ...]
    namespace: str | None = None
    signature: str | None = None

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        return 1 + len(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes out, in order: thinking, text, tool calls."""

    thinking: tuple[str, ...]
    signature: str | None
    redacted: str | None
    text: tuple[str, ...]
    calls: tuple[Call, ...]
    stop: str
    stop_sequence: str | None
    charged: Usage  # what the vendor would bill
    reported: Usage | None  # what the client is told; None: nothing
    raw_usage: dict[str, object] | None
    tells_details: bool = False
    images: tuple[Image, ...] = ()
    citations: tuple[Citation, ...] = ()
    blocks: tuple[dict[str, object], ...] = ()
    is_strange: bool = False

    @property
    def tokens(self) -> int:
        return len(self.thinking) + len(self.text) + sum(call.tokens for call in self.calls)


def compose(conversation: Conversation, turn: Turn) -> Answer:
    """The full answer to a request, before any fault touches it. Pure."""
    own = _own_words(conversation, turn)
    text, stop_sequence = _stopped(_text(own), conversation.stops)
    limit = None if turn.ignores_max_tokens else conversation.max_tokens
    budget = _Budget(limit)
    thinking = budget.take(tokens.pieces(own.thinking or ""))
    pieces = budget.take(tokens.pieces(text))
    calls = _calls(conversation, own, budget)
    charged = turn.usage or _honest(conversation, thinking, pieces, calls)
    return Answer(
        thinking=thinking,
        signature=(own.signature or signing.sign("".join(thinking))) if thinking else None,
        redacted=own.redacted,
        text=pieces,
        calls=calls,
        stop=_stop(own, budget, stop_sequence, calls),
        stop_sequence=stop_sequence,
        charged=charged,
        reported=None if turn.no_usage else turn.reported or charged,
        raw_usage=turn.raw_usage,
        tells_details=turn.tells_details,
        images=turn.images,
        citations=turn.citations,
        blocks=turn.blocks,
        is_strange=turn.strange,
    )


def short_id(prefix: str, *parts: str) -> str:
    """An id that the same parts always give."""
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=12).hexdigest()
    return f"{prefix}{digest}"


class _Budget:
    """The output tokens still allowed."""

    def __init__(self, limit: int | None) -> None:
        self.left = limit
        self.is_short = False

    def take(self, pieces: list[str]) -> tuple[str, ...]:
        if self.left is None:
            return tuple(pieces)
        kept = pieces[: self.left]
        self.left -= len(kept)
        self.is_short = self.is_short or len(kept) < len(pieces)
        return tuple(kept)


def _own_words(conversation: Conversation, turn: Turn) -> Turn:
    """The scripted words, or what the model says by itself with the script's extras on top."""
    if turn.speaks:
        return turn
    is_coder = (turn.acts_as or conversation.model.rpartition("/")[2]) in ("coder", "sim-coder")
    spoken = coder.reply(conversation) if is_coder else echo.reply(conversation)
    return msgspec.structs.replace(
        spoken,
        thinking=turn.thinking or spoken.thinking,
        signature=turn.signature,
        redacted=turn.redacted,
        stop=turn.stop,
    )


def _text(turn: Turn) -> str:
    return turn.text or tokens.filler(turn.tokens or 0)


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """Cut at the first stop sequence that appears."""
    places = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not places:
        return text, None
    place, stop = min(places)
    return text[:place], stop


def _calls(conversation: Conversation, turn: Turn, budget: _Budget) -> tuple[Call, ...]:
    wanted = turn.tool_calls if conversation.parallel_tools else turn.tool_calls[:1]
    made: list[Call] = []
    for place, call in enumerate(wanted):
        if not budget.take(["name"]):
            break
        made.append(_call(conversation, call, place, budget))
    return tuple(made)


def _call(conversation: Conversation, call: ToolCall, place: int, budget: _Budget) -> Call:
    arguments = call.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    prefix = _CALL_PREFIX[conversation.vendor]
    tool = next((tool for tool in conversation.tools if tool.name == call.name), None)
    return Call(
        id=call.id or short_id(prefix, conversation.digest, str(place)),
        name=call.name,
        pieces=budget.take(tokens.argument_pieces(arguments)),
        namespace=tool.namespace if tool else None,
        signature=call.signature,
    )


def _honest(
    conversation: Conversation,
    thinking: tuple[str, ...],
    text: tuple[str, ...],
    calls: tuple[Call, ...],
) -> Usage:
    output = len(text) + sum(call.tokens for call in calls)
    return Usage(input=conversation.input_tokens, output=output, output_reasoning=len(thinking))


def _stop(turn: Turn, budget: _Budget, stop_sequence: str | None, calls: tuple[Call, ...]) -> str:
    if turn.stop:
        return turn.stop
    if budget.is_short:
        return "length"
    if calls:
        return "tool_calls"
    return "stop_sequence" if stop_sequence else "end"
