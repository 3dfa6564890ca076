"""Every frame of the agent socket, both ways, and the events of a run's journal.

A journalled event becomes a frame by an envelope in front of it: `run_id`, `seq`, `fence`,
`step_id`, `at` (see `agents.journal.entries`). The JSON Schema of these types is the protocol.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from agents.errors import FrameTooLarge, MalformedFrame
from ideplatform.kit import guards
from ideplatform.kit.errors import InvalidInput, PlatformError, Pointer

PROTOCOL = "mundial.v1"
MAX_FRAME_BYTES = 262_144
MAX_PROMPT_CHARS = 200_000
MAX_DEPTH = 32

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


class ClientFrame(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True
):
    """What a client sends."""


class Auth(ClientFrame, frozen=True, kw_only=True, tag="auth"):
    token: str


class Hello(ClientFrame, frozen=True, kw_only=True, tag="hello"):
    """Options of this socket. `window_bytes` switches flow control by `ack` on."""

    protocol: str = PROTOCOL
    window_bytes: int | None = None
    client: str = ""


class SeedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation as the seed's clients send it."""

    role: str
    content: str


class RunLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits a caller may lower; None keeps the platform's. USD as a decimal string."""

    steps: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    tokens: int | None = None
    cost_usd: str | None = None
    active_s: int | None = None


class Start(ClientFrame, frozen=True, kw_only=True, tag="start"):
    """Open a run and follow it. The same `request_id` with the same body is the same run."""

    request_id: str = ""
    agent_id: str = ""
    workspace_id: UUID | None = None
    conversation_id: UUID | None = None
    prompt: str = ""
    messages: list[SeedMessage] = []
    model: str = ""
    provider_id: UUID | None = None
    limits: RunLimits | None = None
    after: int = 0


class Subscribe(ClientFrame, frozen=True, kw_only=True, tag="subscribe"):
    """Follow a run after a cursor. `fence` of the last frame seen makes a resume exact even
    when a worker and Redis were lost at once."""

    run_id: UUID
    after: int = 0
    fence: int | None = None


class Unsubscribe(ClientFrame, frozen=True, kw_only=True, tag="unsubscribe"):
    run_id: UUID


class Cancel(ClientFrame, frozen=True, kw_only=True, tag="cancel"):
    run_id: UUID


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run_id: UUID
    seq: int


class Ack(ClientFrame, frozen=True, kw_only=True, tag="ack"):
    acks: list[Acknowledged]


class Ping(ClientFrame, frozen=True, kw_only=True, tag="ping"):
    nonce: str = ""


class SeedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The seed's bare request: no `type`, but `messages`. Unknown members are ignored."""

    messages: list[SeedMessage]
    agent_id: str | None = None
    workspace_id: UUID | None = None
    conversation_id: UUID | None = None
    provider_id: UUID | None = None
    model: str | None = None
    token: str | None = None


AnyClientFrame = Auth | Hello | Start | Subscribe | Unsubscribe | Cancel | Ack | Ping


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What happened in a run: one journal row."""

    is_urgent: ClassVar[bool] = True
    """Whether the live tail is flushed at once instead of with its next batch."""
    is_terminal: ClassVar[bool] = False


class RunChanged(Event, frozen=True, kw_only=True, tag="run"):
    state: str
    reason: str = ""


class Planned(Event, frozen=True, kw_only=True, tag="plan"):
    agents: list[str]
    reason: str
    confidence: str


class StepChanged(Event, frozen=True, kw_only=True, tag="step"):
    state: str
    kind: str
    agent: str
    node_path: str
    attempt: int


class Attempt(Event, frozen=True, kw_only=True, tag="attempt"):
    """A step starts again; what the superseded attempt streamed no longer counts."""

    supersedes: UUID
    attempt: int
    reason: str


class Thinking(Event, frozen=True, kw_only=True, tag="thinking"):
    is_urgent: ClassVar[bool] = False
    text: str


class DeltaMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """`tokens` counts the pieces the model sent; `usage` has the provider's own count."""

    tokens: int
    model: str


class Delta(Event, frozen=True, kw_only=True, tag="delta"):
    is_urgent: ClassVar[bool] = False
    content: str
    metadata: DeltaMetadata


class ToolCalled(Event, frozen=True, kw_only=True, tag="tool_call"):
    call_id: str
    tool: str
    where: str = "server"


class ToolArguments(Event, frozen=True, kw_only=True, tag="tool_arguments"):
    is_urgent: ClassVar[bool] = False
    call_id: str
    delta: str


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    text: str


class ToolReturned(Event, frozen=True, kw_only=True, tag="tool_result"):
    """`parts` show the beginning of the result; `is_truncated` when the model got more."""

    call_id: str
    tool: str
    parts: list[TextPart]
    is_error: bool
    is_truncated: bool
    duration_ms: int


class Answered(Event, frozen=True, kw_only=True, tag="answered"):
    """The model has said all it will; `usage` with the price follows.

    `tokens` counts by class. From here on a crash costs no second call: who goes on has the call
    settled by this count. `call_attempt` is the try of the call that answered.
    """

    model: str
    stop: str
    tokens: dict[str, int]
    is_estimated: bool
    call_attempt: int
    service_tier: str
    provider_request_id: str


class Used(Event, frozen=True, kw_only=True, tag="usage"):
    """What a model call used; it stands after the call's last piece."""

    model: str
    tokens_input: int
    tokens_output: int
    cost_usd: str | None
    is_estimated: bool
    usage_event_id: UUID | None
    stop: str
    run_tokens: int
    run_cost_usd: str


class CompleteMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """`cost` is USD as a decimal string; `outcome` is `completed` or `cancelled`."""

    total_tokens: int
    cost: str
    outcome: str


class Complete(Event, frozen=True, kw_only=True, tag="complete"):
    is_terminal: ClassVar[bool] = True
    metadata: CompleteMetadata


class Error(Event, frozen=True, kw_only=True, tag="error"):
    """The end of a run that failed; without `run_id` and `seq`, a refusal on the socket."""

    is_terminal: ClassVar[bool] = True
    error: str
    problem: dict[str, object]


AnyEvent = (
    RunChanged
    | Planned
    | StepChanged
    | Attempt
    | Thinking
    | Delta
    | ToolCalled
    | ToolArguments
    | ToolReturned
    | Answered
    | Used
    | Complete
    | Error
)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in front of an event on its way to clients.

    `seq` counts the run's events from 1. `first_seq`, when there, tells that the event stands for
    every one since that.
    """

    run_id: UUID
    seq: int
    fence: int
    step_id: UUID | None
    at: datetime
    type: str
    first_seq: int | msgspec.UnsetType = msgspec.UNSET


class ServerFrame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What the socket itself says; never journalled."""


class Welcome(ServerFrame, frozen=True, kw_only=True, tag="welcome"):
    protocol: str
    socket_id: UUID
    window_bytes: int | None
    max_frame_bytes: int
    max_runs: int


class Started(ServerFrame, frozen=True, kw_only=True, tag="started"):
    """Which run a `start` opened, or found."""

    request_id: str
    run_id: UUID
    conversation_id: UUID
    agent_id: str


class Pong(ServerFrame, frozen=True, kw_only=True, tag="pong"):
    nonce: str


class Lagging(ServerFrame, frozen=True, kw_only=True, tag="lagging"):
    """The client reads slower than the run writes: what follows is merged from the journal."""

    run_id: UUID
    after: int


class Rewind(ServerFrame, frozen=True, kw_only=True, tag="rewind"):
    """Forget every event of the run after `to_seq`: it did not survive."""

    run_id: UUID
    to_seq: int


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    run_id: UUID
    after: int


class Draining(ServerFrame, frozen=True, kw_only=True, tag="draining"):
    """This process ends: reconnect and subscribe again with these cursors."""

    runs: list[Resume]


AnyServerFrame = Welcome | Started | Pong | Lagging | Rewind | Draining

_decoder: msgspec.json.Decoder[AnyClientFrame] = msgspec.json.Decoder(AnyClientFrame)
_seed_decoder = msgspec.json.Decoder(SeedRequest)
_event_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


class _Head(msgspec.Struct):
    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_head_decoder = msgspec.json.Decoder(_Head)


def decode(text: str | bytes) -> AnyClientFrame | SeedRequest:
    """A client's message; raises FrameTooLarge, or MalformedFrame with pointers."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_FRAME_BYTES:
        raise FrameTooLarge
    try:
        head = guards.decode_json(
            raw, _head_decoder, max_bytes=MAX_FRAME_BYTES, max_depth=MAX_DEPTH
        )
        if head.type is msgspec.UNSET and head.messages is not msgspec.UNSET:
            return guards.decode_json(raw, _seed_decoder)
        return guards.decode_json(raw, _decoder)
    except PlatformError as wrong:
        raise MalformedFrame(wrong.detail, errors=wrong.errors) from wrong


def decode_event(body: bytes | str) -> AnyEvent:
    """An event as the journal stored it."""
    return _event_decoder.decode(body)


def encode(frame: ServerFrame | Event) -> bytes:
    """A frame or an event as JSON bytes; `type` comes first."""
    return _encoder.encode(frame)


def error(problem: dict[str, object]) -> Error:
    """The error frame of a problem object."""
    return Error(error=str(problem["title"]), problem=problem)


def too_long(pointer: str, *, most: int) -> InvalidInput:
    """The refusal of a text beyond its limit."""
    return InvalidInput(
        errors=[Pointer(pointer=pointer, detail=f"at most {most} characters are accepted")]
    )
