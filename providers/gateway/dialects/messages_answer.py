"""A whole answer as an Anthropic message."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from providers.gateway.dialects import figures, messages_blocks, messages_writer
from providers.gateway.dialects.contract import Answer, Opening
from providers.gateway.dialects.messages_blocks import Members
from providers.gateway.dialects.wire import encode
from providers.types import (
    AnyPart,
    DialectName,
    ImagePart,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResult,
    ToolResultPart,
    ToolUsePart,
)

Blocks = Iterator[Members | msgspec.Raw]


def render(answer: Answer, opening: Opening) -> bytes:
    """The JSON of the answer."""
    reason = answer.stop.reason
    has_refused = any(isinstance(part, RefusalPart) for part in answer.parts)
    whole: Members = {
        "id": opening.answer_id,
        "type": "message",
        "role": "assistant",
        "model": opening.model,
        "content": list(_content(answer)),
        **messages_writer.stop_members(reason, opening, has_refused=has_refused),
        "usage": figures.messages(answer.usage),
        **figures.remarks(answer.usage, reason, unsaid=messages_writer.UNSAID),
    }
    return encode(whole)


def _content(answer: Answer) -> Blocks:
    for number, part in enumerate(answer.parts):
        if isinstance(part, TextPart):
            yield _text(answer, number, part.text)
        else:
            yield from _blocks(part)


def _text(answer: Answer, number: int, text: str) -> Members:
    block: Members = {"type": "text", "text": text}
    cited = [
        messages_blocks.citation(citation)
        for citation in answer.citations
        if citation.index == number and citation.url
    ]
    return block | {"citations": cited} if cited else block


def _blocks(part: AnyPart) -> Blocks:
    match part:
        case ThinkingPart(text=text, signature=signature):
            yield messages_blocks.thought(text, signature)
        case RedactedThinkingPart(data=data):
            yield messages_blocks.redacted(data)
        case ToolUsePart():
            yield from _call(part)
        case RefusalPart(text=text):
            yield {"type": "text", "text": text}
        case ImagePart(media_type=kind, data=data, url=url):
            yield messages_blocks.image(kind, data, url)
        case ToolResultPart(tool_use_id=call_id, name=name, text=text, is_error=is_error):
            yield from messages_blocks.ran(
                ToolResult(id=call_id, name=name, text=text, is_error=is_error)
            )
        case OpaquePart(dialect=DialectName.MESSAGES, raw=raw):
            yield raw


def _call(part: ToolUsePart) -> Blocks:
    """A whole answer has no room for arguments that are no object; they are shown as one."""
    if part.signature:
        yield messages_blocks.thought("", part.signature)
    given: object = messages_blocks.as_input(part.arguments or "{}")
    if given is None:
        given = {"invalid_arguments": part.arguments}
    yield messages_blocks.tool_use(part.id, part.name, given)
