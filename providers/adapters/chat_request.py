"""Our call as the body of chat completions."""

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
    Raw,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ThinkingPart,
    Tool,
    ToolResultPart,
    ToolUsePart,
)

Content = list[object]
PACKED: Final = "{"  # redacted reasoning that keeps its whole detail object begins so


def body(call: Call, *, model: str, is_openai: bool) -> Request:
    """The request. OpenAI itself and the servers that imitate it differ in a few names."""
    dropped = Dropped()
    server_tools, extra = blocks.own_words(call, DialectName.CHAT, dropped)
    user, metadata = blocks.openai_user(call)
    request: dict[str, object] = {
        **extra,
        "model": model,
        "messages": list(_Conversation(call, dropped, is_openai=is_openai).messages()),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    tools: list[object] = [*map(_tool, call.tools), *server_tools]
    if tools:
        request |= {"tools": tools, "tool_choice": _tool_choice(call)}
        if not call.parallel_tools:
            request["parallel_tool_calls"] = False
    if call.max_output_tokens is not None:
        request["max_completion_tokens" if is_openai else "max_tokens"] = call.max_output_tokens
    request |= blocks.given(
        reasoning_effort=blocks.openai_effort(call),
        response_format=_format(call.response_format),
        temperature=call.temperature,
        top_p=call.top_p,
        stop=list(call.stop) or None,
        user=user,
        metadata=metadata,
    )
    return Request(msgspec.json.encode(request), dropped.names)


def _tool(tool: Tool) -> object:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function | blocks.given(strict=tool.strict)}


def _tool_choice(call: Call) -> object:
    if call.tool_name:
        return {"type": "function", "function": {"name": call.tool_name}}
    return call.tool_choice


def _format(wanted: ResponseFormat | None) -> dict[str, object] | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
    return {"type": "json_schema", "json_schema": schema}


class _Conversation:
    """Lays out the messages; media of tool results wait until all results of a turn are out."""

    def __init__(self, call: Call, dropped: Dropped, *, is_openai: bool) -> None:
        self._call = call
        self._dropped = dropped
        self._is_openai = is_openai
        self._waiting: Content = []

    def messages(self) -> Iterator[dict[str, object]]:
        if self._call.system:
            yield {"role": "system", "content": self._call.system}
        for message in self._call.messages:
            yield from self._message(message)
        yield from self._media()

    def _message(self, message: Message) -> Iterator[dict[str, object]]:
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        for result in results:
            yield {"role": "tool", "tool_call_id": result.tool_use_id, "content": result.text}
            # A tool's message takes text alone: what it showed follows as the user's.
            self._waiting += [piece for one in result.media for piece in self._piece(one)]
        if message.role == "assistant":
            yield from self._media()
            yield self._assistant(message)
        elif len(results) < len(message.parts):
            yield from self._media()
            yield {"role": self._role(message), "content": self._content(message)}

    def _media(self) -> Iterator[dict[str, object]]:
        if self._waiting:
            yield {"role": "user", "content": self._waiting}
            self._waiting = []

    def _role(self, message: Message) -> str:
        if message.role == "developer" and not self._is_openai:
            return "system"  # most imitations know no developer
        return "user" if message.role == "tool" else message.role

    def _content(self, message: Message) -> object:
        if all(isinstance(part, TextPart | ToolResultPart) for part in message.parts):
            return blocks.text_of(message.parts)
        return [piece for part in message.parts for piece in self._piece(part)]

    def _piece(self, part: object) -> Iterator[object]:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                yield {"type": "text", "text": text}
            case ImagePart():
                yield {"type": "image_url", "image_url": {"url": blocks.data_url(part)}}
            case AudioPart(format=name, data=data):
                yield {"type": "input_audio", "input_audio": {"data": data, "format": name}}
            case DocumentPart():
                yield from self._document(part)
            case OpaquePart(dialect=DialectName.CHAT, raw=raw):
                yield raw
            case OpaquePart(raw=raw):
                self._dropped.add(f"opaque.{blocks.kind_of(raw)}")

    def _document(self, part: DocumentPart) -> Iterator[object]:
        text = blocks.document_text(part)
        if text is not None:
            yield {"type": "text", "text": blocks.titled(part, text)}
        elif part.url:
            self._dropped.add("documents.url")  # this dialect takes files, not their addresses
        else:
            file = {"filename": part.name or "document.pdf", "file_data": blocks.data_url(part)}
            yield {"type": "file", "file": file}

    def _assistant(self, message: Message) -> dict[str, object]:
        calls = [part for part in message.parts if isinstance(part, ToolUsePart)]
        said, refused = self._words(message)
        silent = bool(calls or refused) and not said
        answer: dict[str, object] = {"role": "assistant", "content": None if silent else said}
        if refused:
            answer["refusal"] = refused
        if calls:
            answer["tool_calls"] = [self._tool_use(part) for part in calls]
        if details := self._details(message):
            answer["reasoning_details"] = details
        return answer

    def _words(self, message: Message) -> tuple[str, str]:
        """What was said and what was refused; imitations know no refusals."""
        refusals = [part.text for part in message.parts if isinstance(part, RefusalPart)]
        said = blocks.text_of(message.parts)
        self._dropped.add_where({"images": any(isinstance(p, ImagePart) for p in message.parts)})
        for part in message.parts:
            if isinstance(part, OpaquePart):
                self._dropped.add(f"opaque.{blocks.kind_of(part.raw)}")
        if self._is_openai:
            return said, "\n".join(refusals)
        return "\n".join([*([said] if said else []), *refusals]), ""

    def _details(self, message: Message) -> list[object]:
        """Signed reasoning as the servers that sign it want it back; OpenAI hides its own."""
        details: list[object] = []
        for part in message.parts:
            match part:
                case ThinkingPart(signature=signature) if "#" in signature:
                    self._dropped.add("thinking")  # of a responses item
                case ThinkingPart(text=text, signature=signature) if signature:
                    signed = {"type": "reasoning.text", "text": text, "signature": signature}
                    details.append(signed | {"index": len(details)})
                case RedactedThinkingPart(data=data) if data.startswith(PACKED):
                    details.append(Raw(data.encode()))
                case RedactedThinkingPart(data=data):
                    details.append({"type": "reasoning.encrypted", "data": data})
        if self._is_openai and details:
            self._dropped.add("thinking")
            return []
        return details

    def _tool_use(self, part: ToolUsePart) -> dict[str, object]:
        function = {"name": part.name, "arguments": part.arguments or "{}"}
        call: dict[str, object] = {"id": part.id, "type": "function", "function": function}
        if part.signature and not self._is_openai:
            # Google's own chat-completions endpoint needs it back.
            call["extra_content"] = {"google": {"thought_signature": part.signature}}
        return call
