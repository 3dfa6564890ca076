"""Values of the paid door that other apps may use: calls and chunks. No framework.

Vendor dialects are translated to these by `providers.adapters`; see docs/walks.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

from billing.types import TokenCount

Raw = msgspec.Raw
Role = Literal["system", "developer", "user", "assistant", "tool"]
Level = Literal["off", "minimal", "low", "medium", "high", "auto"]
CacheTime = Literal["", "5m", "1h"]


class DialectName(StrEnum):
    """The wire formats of the gateway's clients; vendors that speak one get its bytes as sent."""

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


class ProviderType(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    OPENAI_COMPATIBLE = "openai_compatible"


class ProviderScope(StrEnum):
    """Who may use a provider; the nearest scope wins when names collide."""

    PLATFORM = "platform"
    ORGANIZATION = "organization"
    WORKSPACE = "workspace"
    USER = "user"


class Part(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """A piece of a message. `cache`: the vendor may keep the prompt up to here for so long."""

    cache: CacheTime = ""


class TextPart(Part, frozen=True, tag="text", kw_only=True):
    text: str


class ImagePart(Part, frozen=True, tag="image", kw_only=True):
    """`data` is base64 of the bytes, or empty when `url` names them."""

    media_type: str
    data: str = ""
    url: str = ""


class DocumentPart(Part, frozen=True, tag="document", kw_only=True):
    """A PDF or a text: base64 `data`, or `url`, or plain `text`."""

    media_type: str
    name: str = ""
    data: str = ""
    url: str = ""
    text: str = ""


class AudioPart(Part, frozen=True, tag="audio", kw_only=True):
    """`data` is base64; `format` as the vendors name it, such as `wav`."""

    format: str
    data: str


class RefusalPart(Part, frozen=True, tag="refusal", kw_only=True):
    text: str


class OpaquePart(Part, frozen=True, tag="opaque", kw_only=True):
    """Something only its own dialect understands; another never gets it."""

    dialect: DialectName
    raw: Raw


class ThinkingPart(Part, frozen=True, tag="thinking", kw_only=True):
    """Reasoning and the vendor's signature, which must come back unchanged with tool results."""

    text: str
    signature: str = ""


class RedactedThinkingPart(Part, frozen=True, tag="redacted_thinking", kw_only=True):
    data: str


class ToolUsePart(Part, frozen=True, tag="tool_use", kw_only=True):
    """A call the model made; `arguments` is the JSON text it wrote (may be invalid JSON)."""

    id: str
    name: str
    arguments: str
    signature: str = ""


class ToolResultPart(Part, frozen=True, tag="tool_result", kw_only=True):
    tool_use_id: str
    text: str
    name: str = ""
    is_error: bool = False
    media: tuple[ImagePart | DocumentPart, ...] = ()


AnyPart = (
    TextPart
    | ImagePart
    | DocumentPart
    | AudioPart
    | ThinkingPart
    | RedactedThinkingPart
    | ToolUsePart
    | ToolResultPart
    | RefusalPart
    | OpaquePart
)


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

    `headers` are the dialect's own that may travel on (`anthropic-beta`), lower case.
    """

    dialect: DialectName
    body: bytes
    headers: dict[str, str] = {}


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
    `tool_name` forces one tool. `server_tools` and `extra` are raw in the words of
    `source.dialect`; another dialect's vendor does not get them. `session` joins the calls of one
    client conversation.
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
    request_id: UUID
    context: CallContext
    model: str
    inputs: tuple[str, ...]
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

    `dropped` names what of the request its dialect could not say.
    """

    model: str
    provider: str = ""
    provider_request_id: str = ""
    dropped: tuple[str, ...] = ()


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


class Passed(Chunk, frozen=True, tag="passed", kw_only=True):
    """Bytes of the vendor's stream for a client of the same dialect, whole events.

    `size` is the UTF-8 bytes of what the model wrote in them. `is_ending`: the events that tell
    the usage and the end, to be given out when the call is settled.
    """

    data: bytes
    size: int = 0
    is_ending: bool = False


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


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a provider lists it; unknown limits are None."""

    id: str
    display_name: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None


class ModelSource(StrEnum):
    """How a provider's model became known."""

    CATALOGUE = "catalogue"
    DISCOVERED = "discovered"
    MANUAL = "manual"


class HealthState(StrEnum):
    """What calls have shown of an account or one of its models."""

    CLOSED = "closed"
    OPEN = "open"
    COOLING_DOWN = "cooling_down"
    KEY_INVALID = "key_invalid"


class Capability(StrEnum):
    """What a model can do, beyond text in and text out."""

    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    VISION = "vision"
    DOCUMENTS = "documents"
    AUDIO_IN = "audio_in"
    STRUCTURED_OUTPUT = "structured_output"
    THINKING = "thinking"
    THINKING_ADAPTIVE = "thinking_adaptive"
    EFFORT = "effort"
    PROMPT_CACHE = "prompt_cache"
    SERVER_TOOLS = "server_tools"
    COMPACTION = "compaction"
    EMBEDDINGS = "embeddings"
    DEVELOPER_ROLE = "developer_role"
