"""Reading ``POST /v1/messages`` and ``/v1/messages/count_tokens``; ``anthropic_stream`` answers."""

import hashlib
import re

import msgspec

from providers.simulator import reading
from providers.simulator.catalogue import is_known
from providers.simulator.conversation import (
    Conversation,
    Message,
    Signed,
    Tool,
    ToolOutcome,
    ToolUse,
    check_pairing,
)
from providers.simulator.failures import Kind, VendorFailure, invalid
from providers.simulator.reading import JsonObject

from . import digest

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MEDIA = {"image", "document", "container_upload"}
_IGNORED = {"server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "compaction",
            "code_execution_tool_result", "search_result", "redacted_thinking"}  # fmt: skip
BUDGET_LEAST_TOKENS = 1_024


def read(body: bytes, path: str) -> Conversation:
    """Read a message request; ``max_tokens`` is required, as at the vendor."""
    return _read(body, path, counts_only=False)


def read_count(body: bytes, path: str) -> Conversation:
    return _read(body, path, counts_only=True)


def _read(body: bytes, path: str, *, counts_only: bool) -> Conversation:
    ask = reading.decode(body)
    model = reading.text(ask.get("model"), "model")
    if not is_known(model, "anthropic"):
        raise VendorFailure(Kind.MODEL_MISSING, f"model: {model[:200]}")
    limit = reading.optional_count(ask.get("max_tokens"), "max_tokens")
    if limit is None and not counts_only:
        raise invalid("max_tokens: Field required")
    messages = _messages(ask)
    thinks = _thinks(ask, limit)
    check_pairing(messages)
    if thinks:
        _check_thinking_first(ask)
    choice = reading.optional_mapping(ask.get("tool_choice"), "tool_choice")
    return Conversation(
        vendor="anthropic",
        model=model,
        digest=digest(path, body),
        messages=messages,
        tools=_tools(ask),
        forced_tool=_forced(choice),
        parallel_tools=choice.get("disable_parallel_tool_use") is not True,
        include_usage=True,
        streams=reading.optional_flag(ask.get("stream"), "stream"),
        reasons=thinks,
        max_tokens=limit,
        stops=reading.strings(ask.get("stop_sequences"), "stop_sequences"),
        json_schema=_json_schema(ask),
    )


def _messages(ask: JsonObject) -> tuple[Message, ...]:
    messages: list[Message] = []
    if ask.get("system"):
        messages.append(Message(role="system", text=_plain(ask["system"], "system")))
    given = reading.objects(ask.get("messages"), "messages")
    if not given:
        raise invalid("messages: at least one message is required")
    for place, spec in enumerate(given):
        messages.append(_message(spec, f"messages.{place}"))
    return tuple(messages)


def _plain(value: object, at: str) -> str:
    """The text of a string or of text blocks."""
    if isinstance(value, str):
        return value
    return "".join(
        reading.text(part.get("text"), f"{at}.{place}.text")
        for place, part in enumerate(reading.objects(value, at))
        if part.get("type") == "text"
    )


def _message(spec: JsonObject, at: str) -> Message:
    role = reading.text(spec.get("role"), f"{at}.role")
    if role not in ("user", "assistant", "system"):
        raise invalid(f'{at}.role: Unexpected role "{role}".')
    content = spec.get("content")
    if isinstance(content, str):
        if not content:
            raise invalid(f"{at}: all messages must have non-empty content")
        return Message(role=role, text=content)
    blocks = _Blocks()
    for place, block in enumerate(reading.objects(content, f"{at}.content")):
        blocks.take(block, f"{at}.content.{place}")
    return blocks.message(role)


class _Blocks:
    """Collects the blocks of one message."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.media: list[str] = []
        self.uses: list[ToolUse] = []
        self.outcomes: list[ToolOutcome] = []
        self.signed: list[Signed] = []

    def take(self, block: JsonObject, at: str) -> None:
        kind = reading.text(block.get("type"), f"{at}.type")
        if kind == "text":
            self._text(block, at)
        elif kind in _MEDIA:
            self.media.append(_medium(kind, block))
        elif kind == "tool_use":
            self.uses.append(_use(block, at))
        elif kind == "tool_result":
            self.outcomes.append(_outcome(block, at))
        elif kind == "thinking":
            words = reading.text(block.get("thinking"), f"{at}.thinking")
            signature = reading.text(block.get("signature"), f"{at}.signature")
            self.signed.append(Signed(text=words, signature=signature, at=at))
        elif kind not in _IGNORED:
            raise invalid(f"{at}: Input tag '{kind}' found using 'type' does not match any tag")

    def _text(self, block: JsonObject, at: str) -> None:
        words = reading.text(block.get("text"), f"{at}.text")
        if not words:
            raise invalid(f"{at}: text content blocks must be non-empty")
        self.texts.append(words)

    def message(self, role: str) -> Message:
        return Message(
            role=role,
            text="".join(self.texts),
            media=tuple(self.media),
            uses=tuple(self.uses),
            outcomes=tuple(self.outcomes),
            signed=tuple(self.signed),
        )


def _use(block: JsonObject, at: str) -> ToolUse:
    return ToolUse(
        id=reading.text(block.get("id"), f"{at}.id"),
        name=reading.text(block.get("name"), f"{at}.name"),
        arguments=reading.mapping(block.get("input"), f"{at}.input"),
    )


def _outcome(block: JsonObject, at: str) -> ToolOutcome:
    content = block.get("content")
    return ToolOutcome(
        call_id=reading.text(block.get("tool_use_id"), f"{at}.tool_use_id"),
        text="" if content is None else _plain(content, f"{at}.content"),
        is_error=reading.optional_flag(block.get("is_error"), f"{at}.is_error"),
    )


def _medium(kind: str, block: JsonObject) -> str:
    encoded = msgspec.json.encode(block.get("source"))
    fingerprint = hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return f"{kind} {len(encoded)} bytes {fingerprint}"


def _tools(ask: JsonObject) -> tuple[Tool, ...]:
    """Client tools; server tools have a dated type and no schema, and are never called."""
    found: list[Tool] = []
    for place, spec in enumerate(reading.objects(ask.get("tools"), "tools")):
        name = reading.text(spec.get("name"), f"tools.{place}.name")
        if not _TOOL_NAME.fullmatch(name):
            raise invalid(
                f"tools.{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        if spec.get("type", "custom") == "custom":
            schema = reading.mapping(spec.get("input_schema"), f"tools.{place}.input_schema")
            if schema.get("type") != "object":
                raise invalid(f"tools.{place}.custom.input_schema.type: Input should be 'object'")
            found.append(Tool(name=name, schema=schema))
    return tuple(found)


def _forced(choice: JsonObject) -> str | None:
    if choice.get("type") == "tool":
        return reading.text(choice.get("name"), "tool_choice.name")
    return "*" if choice.get("type") == "any" else None


def _json_schema(ask: JsonObject) -> JsonObject | None:
    """Structured output: ``output_config.format`` (``output_format`` in the older beta)."""
    config = reading.optional_mapping(ask.get("output_config"), "output_config")
    shape = config.get("format") or ask.get("output_format")
    if not isinstance(shape, dict) or shape.get("type") != "json_schema":
        return None
    return reading.mapping(shape.get("schema"), "output_config.format.schema")


def _thinks(ask: JsonObject, limit: int | None) -> bool:
    thinking = reading.optional_mapping(ask.get("thinking"), "thinking")
    if thinking.get("type") != "enabled":
        return thinking.get("type") == "adaptive"
    budget = reading.optional_count(
        thinking.get("budget_tokens"), "thinking.budget_tokens", least=BUDGET_LEAST_TOKENS
    )
    if budget is None:
        raise invalid("thinking.enabled.budget_tokens: Field required")
    if limit is not None and limit <= budget:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return True


def _check_thinking_first(ask: JsonObject) -> None:
    """With thinking on, the turn whose tool calls are now answered starts with its thinking."""
    given = reading.objects(ask.get("messages"), "messages")
    for place in range(len(given) - 1, -1, -1):
        content = given[place].get("content")
        blocks = reading.objects(content, "content") if isinstance(content, list) else []
        kinds = [block.get("type") for block in blocks]
        if given[place].get("role") == "user" and "tool_result" not in kinds:
            return
        if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
            raise invalid(
                f"messages.{place}.content.0.type: Expected `thinking` or `redacted_thinking`, "
                f"but found `{kinds[0]}`. When `thinking` is enabled, a final `assistant` message "
                "must start with a thinking block (preceding the lastmost set of `tool_use` and "
                "`tool_result` blocks)."
            )
