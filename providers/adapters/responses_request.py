"""Our call as the body of OpenAI's responses, without server-side state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from providers.adapters import blocks
from providers.adapters.blocks import Dropped, Request
from providers.types import (
    AudioPart,
    Call,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ThinkingPart,
    Tool,
    ToolResultPart,
    ToolUsePart,
)

Item = dict[str, object]
# A reasoning item's id and its encrypted content travel as one signature.
SEPARATOR: Final = "#"
_CONTENT_KINDS: Final = ("input_", "output_text", "refusal")


def body(call: Call, *, model: str) -> Request:
    """The request."""
    dropped = Dropped()
    server_tools, extra = blocks.own_words(call, DialectName.RESPONSES, dropped)
    dropped.add_where({"stop": call.stop})
    user, metadata = blocks.openai_user(call)
    request: dict[str, object] = {
        **extra,
        "model": model,
        "input": [item for one in call.messages for item in _Turn(one, dropped).items()],
        "stream": True,
        "store": False,
    }
    if call.system:
        request["instructions"] = call.system
    tools: list[object] = [*map(_tool, call.tools), *server_tools]
    if tools:
        request |= {"tools": tools, "tool_choice": _tool_choice(call)}
        request["parallel_tool_calls"] = call.parallel_tools
    if call.reasoning.level != "off":
        request["include"] = ["reasoning.encrypted_content"]
        effort = blocks.given(effort=blocks.openai_effort(call))
        request["reasoning"] = {**effort, "summary": "auto"}
    if call.response_format is not None:
        request["text"] = {"format": _format(call.response_format)}
    request |= blocks.given(
        max_output_tokens=call.max_output_tokens,
        temperature=call.temperature,
        top_p=call.top_p,
        user=user,
        metadata=metadata,
    )
    return Request(msgspec.json.encode(request), dropped.names)


def _tool(tool: Tool) -> object:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": bool(tool.strict),
    }


def _tool_choice(call: Call) -> object:
    return {"type": "function", "name": call.tool_name} if call.tool_name else call.tool_choice


def _format(wanted: ResponseFormat) -> Item:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
    return {"type": "json_schema", **schema}


class _Turn:
    """One message as items. Their order is kept: reasoning stands before its call."""

    def __init__(self, message: Message, dropped: Dropped) -> None:
        self._message = message
        self._dropped = dropped
        self._is_assistant = message.role == "assistant"

    def items(self) -> Iterator[object]:
        content: list[object] = []
        for part in self._message.parts:
            content += self._content(part)
            for item in self._item(part):
                if content:
                    yield self._said(content)
                    content = []
                yield item
        if content:
            yield self._said(content)

    def _said(self, content: list[object]) -> Item:
        role = "user" if self._message.role == "tool" else self._message.role
        return {"role": role, "content": content}

    def _content(self, part: object) -> Iterator[object]:
        match part:
            case TextPart(text=text):
                yield {"type": "output_text" if self._is_assistant else "input_text", "text": text}
            case RefusalPart(text=text) if self._is_assistant:
                yield {"type": "refusal", "refusal": text}
            case RefusalPart(text=text):
                yield {"type": "input_text", "text": text}
            case ImagePart() | DocumentPart() | AudioPart() if self._is_assistant:
                self._dropped.add(_MEDIA[type(part)])
            case ImagePart() | DocumentPart():
                yield _medium(part)
            case AudioPart():
                self._dropped.add("audio")
            case OpaquePart(dialect=DialectName.RESPONSES, raw=raw) if _is_content(part):
                yield raw

    def _item(self, part: object) -> Iterator[object]:
        match part:
            case ThinkingPart(signature=signature) if SEPARATOR in signature:
                yield _reasoning(signature)
            case ThinkingPart(signature=signature) if signature:
                self._dropped.add("thinking")
            case RedactedThinkingPart():
                self._dropped.add("thinking")
            case ToolUsePart(id=call_id, name=name, arguments=arguments):
                call = {"type": "function_call", "call_id": call_id, "name": name}
                yield call | {"arguments": arguments or "{}"}
            case ToolResultPart(tool_use_id=call_id):
                result = {"type": "function_call_output", "call_id": call_id}
                yield result | {"output": _output(part)}
            case OpaquePart(dialect=DialectName.RESPONSES, raw=raw):
                if not _is_content(part):
                    yield raw
            case OpaquePart(raw=raw):
                self._dropped.add(f"opaque.{blocks.kind_of(raw)}")


_MEDIA: Final[dict[type, str]] = {
    ImagePart: "images",
    DocumentPart: "documents",
    AudioPart: "audio",
}


def _is_content(part: OpaquePart) -> bool:
    """Whether it belongs inside a message; everything else is an item of its own."""
    return blocks.kind_of(part.raw).startswith(_CONTENT_KINDS)


def _medium(part: ImagePart | DocumentPart) -> Item:
    if isinstance(part, ImagePart):
        return {"type": "input_image", "image_url": blocks.data_url(part), "detail": "auto"}
    text = blocks.document_text(part)
    if text is not None:
        return {"type": "input_text", "text": blocks.titled(part, text)}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    name = part.name or "document.pdf"
    return {"type": "input_file", "filename": name, "file_data": blocks.data_url(part)}


def _output(part: ToolResultPart) -> object:
    if not part.media:
        return part.text
    text = [{"type": "input_text", "text": part.text}] if part.text else []
    return [*text, *map(_medium, part.media)]


def _reasoning(signature: str) -> Item:
    item_id, _, encrypted = signature.partition(SEPARATOR)
    return {"type": "reasoning", "id": item_id, "summary": [], "encrypted_content": encrypted}
