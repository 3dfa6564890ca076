"""Our call as the body of Gemini's generateContent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from providers.adapters import blocks
from providers.adapters.blocks import Dropped, Request
from providers.types import (
    AudioPart,
    Call,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

# The vendor's documented value for calls whose signature is not ours to give: foreign history.
UNSIGNED: Final = "skip_thought_signature_validator"
_BUDGETS: Final = {"minimal": 512, "low": 1_024, "medium": 8_192, "high": 24_576, "auto": -1}


def body(call: Call, *, model: str) -> Request:
    """The request of a stream."""
    dropped = Dropped()
    request = contents(call, model=model, dropped=dropped)
    blocks.own_words(call, None, dropped)
    if call.tools:
        request |= _tools(call)
    if config := _generation(call):
        request["generationConfig"] = config
    dropped.add_where(
        {
            "metadata": call.metadata,
            "parallel_tools": call.tools and not call.parallel_tools,
            "strict": any(tool.strict for tool in call.tools),
        }
    )
    return Request(msgspec.json.encode(request), dropped.names)


def contents(call: Call, *, model: str, dropped: Dropped) -> dict[str, object]:
    """The conversation alone, as counting wants it."""
    texts, messages = blocks.leading_system(call)
    names = {
        part.id: part.name
        for message in messages
        for part in message.parts
        if isinstance(part, ToolUsePart)
    }
    nests_media = model.startswith("gemini-3")
    turns = (
        (_role(message), list(_Turn(message, names, dropped, nests_media=nests_media).parts()))
        for message in map(blocks.as_user, messages)
    )
    request: dict[str, object] = {
        "contents": [
            {"role": turn["role"], "parts": turn["content"]} for turn in blocks.merged(turns)
        ]
    }
    if texts:
        system = "\n\n".join(part.text for part in texts)
        request["systemInstruction"] = {"parts": [{"text": system}]}
    return request


def _tools(call: Call) -> dict[str, object]:
    declarations = [
        {
            "name": tool.name,
            "description": tool.description,
            "parametersJsonSchema": tool.parameters,
        }
        for tool in call.tools
    ]
    config: dict[str, object] = {
        "mode": {"auto": "AUTO", "required": "ANY", "none": "NONE"}[call.tool_choice]
    }
    if call.tool_name:
        config = {"mode": "ANY", "allowedFunctionNames": [call.tool_name]}
    return {
        "tools": [{"functionDeclarations": declarations}],
        "toolConfig": {"functionCallingConfig": config},
    }


def _generation(call: Call) -> dict[str, object]:
    thinking: dict[str, object] | None = None
    if call.reasoning.level != "off":
        budget = call.reasoning.budget or _BUDGETS[call.reasoning.level]
        thinking = {"includeThoughts": True, "thinkingBudget": budget}
    wanted = call.response_format
    return blocks.given(
        maxOutputTokens=call.max_output_tokens,
        temperature=call.temperature,
        topP=call.top_p,
        stopSequences=list(call.stop) or None,
        thinkingConfig=thinking,
        responseMimeType="application/json" if wanted is not None else None,
        responseJsonSchema=wanted.schema if wanted is not None else None,
    )


def _role(message: Message) -> str:
    return "model" if message.role == "assistant" else "user"


class _Turn:
    """The parts of a turn; a thought's signature returns on the part that it came with."""

    def __init__(
        self, message: Message, names: dict[str, str], dropped: Dropped, *, nests_media: bool
    ) -> None:
        self._message = message
        self._names = names
        self._dropped = dropped
        self._nests_media = nests_media
        self._pending = ""
        self._is_first_call = True

    def parts(self) -> Iterator[object]:
        late: list[object] = []
        for part in self._message.parts:
            if isinstance(part, ToolResultPart):
                yield {"functionResponse": self._response(part)}
                if not self._nests_media:  # older models take what a tool showed beside its answer
                    late += [piece for one in part.media for piece in self._part(one)]
            else:
                yield from self._part(part)
        yield from late
        if self._pending:
            yield {"text": "", "thoughtSignature": self._pending}

    def _part(self, part: object) -> Iterator[object]:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                if text:
                    yield {"text": text, **self._signature("")}
            case ImagePart():
                yield _medium(blocks.inlined(part))
            case DocumentPart():
                words = blocks.document_text(part)
                yield _medium(part) if words is None else {"text": blocks.titled(part, words)}
            case AudioPart(format=name, data=data):
                yield {"inlineData": {"mimeType": f"audio/{name}", "data": data}}
            case ThinkingPart(signature=signature) if "#" not in signature:
                self._pending = signature
            case ThinkingPart() | RedactedThinkingPart():
                self._dropped.add("thinking")
            case ToolUsePart(name=name, arguments=arguments, signature=own):
                call = {"name": name, "args": blocks.as_object(arguments)}
                signed = self._signature(own, UNSIGNED if self._is_first_call else "")
                self._is_first_call = False
                yield {"functionCall": call, **signed}
            case OpaquePart(raw=raw):
                self._dropped.add(f"opaque.{blocks.kind_of(raw)}")

    def _signature(self, own: str, otherwise: str = "") -> dict[str, object]:
        signature = own or self._pending or otherwise
        self._pending = ""
        return {"thoughtSignature": signature} if signature else {}

    def _response(self, part: ToolResultPart) -> dict[str, object]:
        name = part.name or self._names.get(part.tool_use_id, "")
        answer: dict[str, object] = {
            "name": name,
            "response": {"error" if part.is_error else "output": part.text},
        }
        if part.media and self._nests_media:
            answer["parts"] = [piece for one in part.media for piece in self._part(one)]
        return answer


def _medium(part: ImagePart | DocumentPart) -> dict[str, object]:
    kind = blocks.media_type(part)
    if part.url:
        return {"fileData": {"mimeType": kind, "fileUri": part.url}}
    return {"inlineData": {"mimeType": kind, "data": part.data}}
