"""Our call as the body of Gemini's generateContent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from providers.adapters import blocks
from providers.types import (
    Call,
    ImagePart,
    Message,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

# The vendor's documented value for calls whose signature is not ours to give: foreign history.
UNSIGNED: Final = "skip_thought_signature_validator"
_BUDGETS: Final = {"minimal": 512, "low": 1_024, "medium": 8_192, "high": 24_576, "auto": -1}


def body(call: Call) -> bytes:
    """The request of a stream."""
    request = contents(call)
    if call.tools:
        declarations = [
            {
                "name": tool.name,
                "description": tool.description,
                "parametersJsonSchema": tool.parameters,
            }
            for tool in call.tools
        ]
        mode = {"auto": "AUTO", "required": "ANY", "none": "NONE"}[call.tool_choice]
        request["tools"] = [{"functionDeclarations": declarations}]
        request["toolConfig"] = {"functionCallingConfig": {"mode": mode}}
    if config := _generation(call):
        request["generationConfig"] = config
    return msgspec.json.encode(request)


def contents(call: Call) -> dict[str, object]:
    """The conversation alone, as counting wants it."""
    system, messages = blocks.leading_system(call.system, call.messages)
    names = {
        part.id: part.name
        for message in messages
        for part in message.parts
        if isinstance(part, ToolUsePart)
    }
    turns = ((_role(message), list(_parts(message, names))) for message in messages)
    request: dict[str, object] = {
        "contents": [
            {"role": turn["role"], "parts": turn["content"]} for turn in blocks.merged(turns)
        ]
    }
    if system:
        request["systemInstruction"] = {"parts": [{"text": system}]}
    return request


def _generation(call: Call) -> dict[str, object]:
    thinking: dict[str, object] | None = None
    if call.reasoning.level != "off":
        budget = call.reasoning.budget or _BUDGETS[call.reasoning.level]
        thinking = {"includeThoughts": True, "thinkingBudget": budget}
    values = {
        "maxOutputTokens": call.max_output_tokens,
        "temperature": call.temperature,
        "topP": call.top_p,
        "stopSequences": list(call.stop) or None,
        "thinkingConfig": thinking,
        "responseMimeType": "application/json" if call.response_format is not None else None,
        "responseJsonSchema": call.response_format.schema if call.response_format else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _role(message: Message) -> str:
    return "model" if message.role == "assistant" else "user"


def _parts(message: Message, names: dict[str, str]) -> Iterator[object]:
    """The parts of a turn; a thought's signature returns on the part that it came with."""
    pending, is_first_call = "", True
    for part in message.parts:
        match part:
            case TextPart(text=text) if text:
                yield {"text": text} | ({"thoughtSignature": pending} if pending else {})
                pending = ""
            case ImagePart(url=url, media_type=kind) if url:
                yield {"fileData": {"mimeType": kind, "fileUri": url}}
            case ImagePart(media_type=kind, data=data):
                yield {"inlineData": {"mimeType": kind, "data": data}}
            case ThinkingPart(signature=signature):
                pending = signature
            case ToolUsePart(name=name, arguments=arguments, signature=own):
                call = {"name": name, "args": blocks.as_object(arguments)}
                signature = own or pending or (UNSIGNED if is_first_call else "")
                yield {"functionCall": call} | (
                    {"thoughtSignature": signature} if signature else {}
                )
                pending, is_first_call = "", False
            case ToolResultPart():
                yield {"functionResponse": _response(part, names)}


def _response(part: ToolResultPart, names: dict[str, str]) -> dict[str, object]:
    name = part.name or names.get(part.tool_use_id, "")
    return {"name": name, "response": {"error" if part.is_error else "output": part.text}}
