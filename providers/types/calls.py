"""Calls: one request to a model in our own words, and the vectors of an embedding call."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from billing.types import TokenCount
from providers.types.parts import AnyPart, CacheTime, DialectName, Raw, Role

Level = Literal["off", "minimal", "low", "medium", "high", "auto"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: Role
    parts: tuple[AnyPart, ...]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function the model may call; `parameters` is its JSON Schema, raw."""

    name: str
    description: str
    parameters: Raw
    strict: bool | None = None
    cache: CacheTime = ""


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is JSON; with a schema, of that shape. `schema` is JSON Schema, raw."""

    name: str = "answer"
    schema: Raw | None = None
    strict: bool = True


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway client sent, for a vendor that speaks the same dialect.

    Such a vendor gets `body` as it is but for model, maximum and streaming; an empty `body` has the
    call written anew. `headers` are the dialect's own that may travel on (`anthropic-beta`), lower
    case. `is_streamed`: the client wants the vendor's events; else they are read as chunks.
    """

    dialect: DialectName
    body: bytes
    headers: dict[str, str] = {}
    is_streamed: bool = True


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model may think; `budget` is tokens, None leaves it to the vendor."""

    level: Level = "off"
    budget: int | None = None


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays for a call and what it belongs to."""

    user_id: UUID
    organization_id: UUID
    workspace_id: UUID | None = None
    api_key_id: UUID | None = None
    agent_id: str = ""
    conversation_id: UUID | None = None
    run_id: UUID | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request in our own words. `deadline_s` bounds the whole call, retries included.

    `ceiling_usd` (decimal string) bounds its cost: the answer is cut off where it would be passed.
    `metadata["user_id"]` names the caller's own user. `tool_name` forces one tool. `server_tools`
    and `extra` are raw in the words of `source.dialect`; another dialect's vendor does not get
    them. `session` joins the calls of one client conversation.
    """

    request_id: UUID
    context: CallContext
    model: str
    messages: tuple[Message, ...]
    attempt: int = 1
    system: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "required", "none"] = "auto"
    tool_name: str = ""
    server_tools: tuple[Raw, ...] = ()
    parallel_tools: bool = True
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    reasoning: Reasoning = Reasoning()
    response_format: ResponseFormat | None = None
    metadata: dict[str, str] = {}
    session: str = ""
    extra: dict[str, Raw] = {}
    source: Source | None = None
    deadline_s: float = 900
    ceiling_usd: str | None = None


class EmbedCall(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to turn into vectors, or their token numbers, which OpenAI's dialect alone takes."""

    request_id: UUID
    context: CallContext
    model: str
    inputs: tuple[str, ...] | tuple[tuple[int, ...], ...]
    attempt: int = 1
    dimensions: int | None = None
    deadline_s: float = 60


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    vectors: tuple[tuple[float, ...], ...]
    model: str
    tokens: TokenCount
    provider_request_id: str = ""
    cost_usd: str | None = None
    usage_event_id: UUID | None = None
