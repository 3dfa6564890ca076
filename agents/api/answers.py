"""What the agents' REST answers, as types: the published schema, which the suite holds it to."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from agents.types import (
    ConversationOrigin,
    ConversationVisibility,
    Limits,
    MessageRole,
    RunState,
    Spent,
)
from ideplatform.kit.openapi import Problem


class Agent(msgspec.Struct, kw_only=True):
    """An agent; `obstacles` tell why a model of its alias cannot answer now."""

    id: str
    name: str
    description: str
    alias: str
    modes: list[str]
    tools: list[str]
    is_ready: bool
    models: list[str]
    obstacles: list[str]


class Agents(msgspec.Struct, kw_only=True):
    items: list[Agent]


class Run(msgspec.Struct, kw_only=True):
    """One request to an agent; its events are numbered up to `last_seq`."""

    id: UUID
    conversation_id: UUID
    workspace_id: UUID
    agent_id: str
    state: RunState
    last_seq: int
    attempt: int
    limits: Limits
    spent: Spent
    error: Problem | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Runs(msgspec.Struct, kw_only=True):
    items: list[Run]
    next_cursor: str


class RunUsage(msgspec.Struct, kw_only=True):
    tokens_input: int
    tokens_output: int
    total_tokens: int


class RunToolCall(msgspec.Struct, kw_only=True):
    id: str
    tool: str
    arguments: dict[str, object] | str


class RunOutcome(msgspec.Struct, kw_only=True):
    """The run's end, or where it stands; `cost_usd` is a decimal string."""

    run_id: UUID
    conversation_id: UUID
    workspace_id: UUID
    agent_id: str
    state: RunState
    content: str
    tool_calls: list[RunToolCall]
    usage: RunUsage
    cost_usd: str
    error: Problem | None


class RunEvents(msgspec.Struct, kw_only=True):
    """Journalled events as the socket sends them: see `frames.json`."""

    items: list[dict[str, object]]
    next_after: int


class Conversation(msgspec.Struct, kw_only=True):
    """`workspace_id` is null for a gateway client's that worked outside every workspace."""

    id: UUID
    workspace_id: UUID | None
    user_id: UUID | None
    agent_id: str
    title: str
    origin: ConversationOrigin
    visibility: ConversationVisibility
    created_at: datetime
    updated_at: datetime


class Conversations(msgspec.Struct, kw_only=True):
    items: list[Conversation]
    next_cursor: str


class ConversationMessage(msgspec.Struct, kw_only=True):
    """`parts` are tagged by `type`: text, thinking, tool_use, tool_result, ..."""

    no: int
    role: MessageRole
    parts: list[dict[str, object]]
    run_id: UUID | None
    author_id: UUID | None
    model: str
    created_at: datetime


class ConversationMessages(msgspec.Struct, kw_only=True):
    items: list[ConversationMessage]
    next_cursor: str
