"""Values of runs that other parts may use. No framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

from providers.types import Message


class RunKind(StrEnum):
    """What a run executes."""

    AGENT = "agent"


class RunState(StrEnum):
    """queued -> running -> one of the other four; running -> queued when a lease ends early."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE = (RunState.QUEUED, RunState.RUNNING)
Terminal: TypeAlias = Literal[
    RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED, RunState.INTERRUPTED
]
"""The states that nothing changes any more."""


class StepKind(StrEnum):
    MODEL = "model"
    TOOL = "tool"


class StepState(StrEnum):
    RUNNING = "running"
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class CommandKind(StrEnum):
    """What others may ask of a run's owner."""

    CANCEL = "cancel"


class ConversationOrigin(StrEnum):
    """Where a conversation began: in the IDE, by REST or the socket, by a gateway client."""

    IDE = "ide"
    API = "api"
    GATEWAY = "gateway"


class ConversationVisibility(StrEnum):
    """Who may read a conversation besides its person: nobody, or the workspace's members."""

    PRIVATE = "private"
    WORKSPACE = "workspace"


class MessageRole(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one root run may spend. Money is a decimal string in USD, time seconds."""

    steps: int = 60
    model_calls: int = 80
    tool_calls: int = 200
    tokens: int = 2_000_000
    cost_usd: str = "5"
    active_s: int = 1_800


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What a root run has spent so far, in the units of `Limits`."""

    steps: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    tokens: int = 0
    cost_usd: str = "0"


class ClientTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that runs with the client; `parameters` is its JSON Schema as text."""

    name: str
    description: str
    parameters: str


class AgentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client asked for; stored with the run.

    `agent_id` pins an agent, "" lets the rules decide. `model` is an alias or a model's name, ""
    the agent's own. `provider_id` pins the account that serves `model`. `tools` are offered to the
    model before the agent's own of the same name; the run ends with a call of one, and the next
    run of the conversation brings the result.
    """

    prompt: str
    agent_id: str = ""
    model: str = ""
    provider_id: UUID | None = None
    limits: Limits = Limits()
    tools: tuple[ClientTool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as services hand it out. `spent` and `last_seq` are of the moment it was read."""

    id: UUID
    root_id: UUID
    workspace_id: UUID
    organization_id: UUID
    conversation_id: UUID
    actor_id: UUID
    api_key_id: UUID | None
    agent_id: str
    state: RunState
    fence: int
    last_seq: int
    attempt: int
    request: AgentRequest
    limits: Limits
    spent: Spent
    error: dict[str, object] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def is_over(self) -> bool:
        return self.state not in ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One agent's part of an answer."""

    id: str
    agent_id: str
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which agents answer, in order, and why. `confidence` is between 0 and 1."""

    steps: tuple[PlanStep, ...]
    reason: str
    confidence: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """An agent as the catalogue shows it. `alias` names its model unless a request does."""

    id: str
    name: str
    description: str
    alias: str
    tools: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What one model call answered: a step's output. Money is a decimal string or None."""

    message: Message
    stop: str
    model: str = ""
    tokens_input: int = 0
    tokens_output: int = 0
    cost_usd: str | None = None
    is_estimated: bool = False
    usage_event_id: UUID | None = None
    is_partial: bool = False

    @property
    def tokens(self) -> int:
        return self.tokens_input + self.tokens_output


class ToolOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave back: text for the model, at most 64 KiB.

    `path` and `version` name the file version that was read in full, or made.
    """

    text: str
    is_error: bool = False
    path: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step as it was found when its run was taken over."""

    id: UUID
    node_path: str
    kind: StepKind
    attempt: int
    state: StepState
    reply: Reply | None = None
    outcome: ToolOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run so far. `content` is the text of its last answer."""

    run: Run
    content: str = ""
    tool_calls: tuple[dict[str, object], ...] = field(default_factory=tuple)
    tokens_input: int = 0
    tokens_output: int = 0
