"""``sim-echo`` and every real model name: says back what it was told."""

import msgspec

from . import schemas, tokens
from .conversation import Conversation, Tool
from .reading import JsonObject
from .script import ToolCall, Turn


def reply(conversation: Conversation) -> Turn:
    """JSON if a format was demanded, a tool call if one was forced, else the prompt echoed."""
    thinking = _thought(conversation) if conversation.reasons else None
    if conversation.json_schema is not None:
        return Turn(text=_json(conversation.json_schema, conversation.prompt), thinking=thinking)
    if tool := _forced(conversation):
        return Turn(tool_calls=(_call(tool, conversation.prompt),), thinking=thinking)
    return Turn(text=f"Echo: {_heard(conversation)}", thinking=thinking)


def _heard(conversation: Conversation) -> str:
    outcomes = [one for message in conversation.exchange for one in message.outcomes]
    if outcomes:
        return "tool results: " + " | ".join(outcome.text for outcome in outcomes)
    place = conversation.last_user_place
    media = conversation.messages[place].media if place >= 0 else ()
    return " ".join([conversation.prompt, *(f"[{one}]" for one in media)]).strip()


def _thought(conversation: Conversation) -> str:
    words = len(conversation.prompt.split())
    return (
        f"The user wrote {words} words, about {tokens.count(conversation.prompt)} tokens. I echo."
    )


def _json(schema: JsonObject, prompt: str) -> str:
    value = schemas.instance(schema, prompt) if schema else {"echo": prompt}
    return msgspec.json.encode(value).decode()


def _forced(conversation: Conversation) -> Tool | None:
    if conversation.forced_tool is None or any(one.outcomes for one in conversation.exchange):
        return None
    wanted = conversation.forced_tool
    return next((tool for tool in conversation.tools if wanted in ("*", tool.name)), None)


def _call(tool: Tool, prompt: str) -> ToolCall:
    filled = schemas.instance(tool.schema, prompt) if tool.schema.get("properties") else {}
    return ToolCall(name=tool.name, arguments=filled if isinstance(filled, dict) else {})
