"""Chunks: the pieces of an answer, in the order a vendor sent them."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

import msgspec

from billing.types import TokenCount
from providers.types.parts import DialectName, Raw


class StopReason(StrEnum):
    END = "end"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    STOP_SEQUENCE = "stop_sequence"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    COMPACTION = "compaction"
    BUDGET = "budget"
    CANCELLED = "cancelled"


class Chunk(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """A piece of an answer, in the order the vendor sent it."""


class Started(Chunk, frozen=True, tag="started", kw_only=True):
    """The vendor accepted the call; nothing is retried after this.

    `dropped` names what of the request its dialect could not say. `max_output_tokens` is what the
    platform set where the caller named no maximum and the money was short.
    """

    model: str
    provider: str = ""
    provider_request_id: str = ""
    dropped: tuple[str, ...] = ()
    max_output_tokens: int | None = None


class Text(Chunk, frozen=True, tag="text", kw_only=True):
    index: int
    text: str


class Thinking(Chunk, frozen=True, tag="thinking", kw_only=True):
    index: int
    text: str


class ThinkingSignature(Chunk, frozen=True, tag="thinking_signature", kw_only=True):
    index: int
    signature: str


class RedactedThinking(Chunk, frozen=True, tag="redacted_thinking", kw_only=True):
    index: int
    data: str


class ToolCall(Chunk, frozen=True, tag="tool_call", kw_only=True):
    """`index` joins the argument deltas of parallel calls, which interleave."""

    index: int
    id: str
    name: str
    signature: str = ""


class ToolArguments(Chunk, frozen=True, tag="tool_arguments", kw_only=True):
    index: int
    delta: str


class ToolCallEnd(Chunk, frozen=True, tag="tool_call_end", kw_only=True):
    index: int


class Refusal(Chunk, frozen=True, tag="refusal", kw_only=True):
    text: str


class ToolResult(Chunk, frozen=True, tag="tool_result", kw_only=True):
    """A tool that ran on our side: an agent that answers as a model."""

    id: str
    name: str
    text: str
    is_error: bool = False


class Image(Chunk, frozen=True, tag="image", kw_only=True):
    """A picture the model made; `data` is base64."""

    index: int
    media_type: str
    data: str


class Citation(Chunk, frozen=True, tag="citation", kw_only=True):
    """A source of the text in block `index`."""

    index: int
    url: str = ""
    title: str = ""
    cited: str = ""


class Opaque(Chunk, frozen=True, tag="opaque", kw_only=True):
    """A whole block or event that only its own dialect understands, such as a server tool's."""

    dialect: DialectName
    raw: Raw


class OpenItem(msgspec.Struct, kw_only=True):
    """An item of a `responses` answer that has begun. `item` is it as the vendor announced it.

    `texts` are what was written by content index (arguments and reasoning: 0), under `kind`, the
    vendor's word for its deltas: `output_text`, `refusal`, `function_call_arguments`, ...
    """

    item: Raw
    id: str = ""
    kind: str = ""
    texts: dict[int, list[str]] = {}


class Unfinished(msgspec.Struct, kw_only=True):
    """How far an answer that is passed on has come. It changes as the answer goes on.

    `answer_id`, `model` and `created_s` (Unix time) are the vendor's. `block`: the content block
    that is open (messages). `sequence`: the number of the last event (responses), -1 before any;
    `open_items` and `output` are its items by output index: begun, and whole as sent.
    """

    answer_id: str = ""
    model: str = ""
    created_s: int = 0
    block: int | None = None
    sequence: int = -1
    open_items: dict[int, OpenItem] = {}
    output: dict[int, Raw] = {}


class Passed(Chunk, frozen=True, tag="passed", kw_only=True):
    """Bytes of the vendor's stream for a client of the same dialect, whole events.

    `size` is the UTF-8 bytes of what the model wrote in them. `is_ending`: the events that tell
    the usage and the end, to be given out when the call is settled. `unfinished` is one object for
    the whole stream: what is open after these bytes, for whoever must end a broken answer.
    """

    data: bytes
    size: int = 0
    is_ending: bool = False
    unfinished: Unfinished


class Answered(Chunk, frozen=True, tag="answered", kw_only=True):
    """The vendor has said all it will; the settlement comes next.

    Whoever writes this down before going on can have the call settled after a crash, and need not
    ask again. `attempt` is the one that answered; `is_estimated` when the vendor gave no count.
    """

    attempt: int
    reason: StopReason
    tokens: TokenCount
    is_estimated: bool
    model: str
    service_tier: str
    provider_request_id: str


class Usage(Chunk, frozen=True, tag="usage", kw_only=True):
    """Tokens so far; each ended stream has exactly one with `is_final`.

    `cost_usd` (decimal string) and `is_estimated` are filled by the paid door, not by adapters.
    """

    tokens: TokenCount
    is_final: bool
    service_tier: str = "standard"
    is_estimated: bool = False
    cost_usd: str | None = None
    usage_event_id: UUID | None = None


class Stop(Chunk, frozen=True, tag="stop", kw_only=True):
    """The last chunk of a stream that ended in order."""

    reason: StopReason
