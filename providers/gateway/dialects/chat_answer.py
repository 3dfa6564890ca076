"""A whole answer as a chat completion."""

from __future__ import annotations

from collections.abc import Iterator

from providers.gateway.dialects import chat_writer, figures
from providers.gateway.dialects.contract import Answer, Opening
from providers.gateway.dialects.wire import encode, image_url, members
from providers.types import (
    AnyPart,
    DialectName,
    ImagePart,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

Members = dict[str, object]


def render(answer: Answer, opening: Opening) -> bytes:
    """The JSON of the answer."""
    uses_functions = opening.asked.uses_functions
    message = _message(answer, uses_functions=uses_functions)
    reason = chat_writer.finish_reason(
        answer.stop.reason,
        has_refused=message["refusal"] is not None,
        uses_functions=uses_functions,
    )
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    whole: Members = {
        "id": opening.answer_id,
        "object": "chat.completion",
        "created": opening.created_s,
        "model": opening.model,
        "choices": [choice],
        "usage": figures.chat(answer.usage),
        **figures.chat_tier(answer.usage),
        **figures.remarks(answer.usage, answer.stop.reason, unsaid=chat_writer.UNSAID),
    }
    return encode(whole)


def _message(answer: Answer, *, uses_functions: bool) -> Members:
    parts = answer.parts
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    refusals = [part.text for part in parts if isinstance(part, RefusalPart)]
    calls = [part for part in parts if isinstance(part, ToolUsePart)]
    message: Members = {
        "role": "assistant",
        "content": "".join(texts) if texts or not (calls or refusals) else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    message |= _calls(calls, uses_functions=uses_functions)
    message |= _reasoning(parts)
    message |= _listed("annotations", list(_annotations(answer)))
    message |= _listed("images", list(_images(parts)))
    if results := list(_results(parts)):
        message["x_mundial"] = {"tool_results": results}
    for part in parts:
        if isinstance(part, OpaquePart) and part.dialect is DialectName.CHAT:
            message = {**members(part.raw), **message}
    return message


def _calls(calls: list[ToolUsePart], *, uses_functions: bool) -> Members:
    if not calls:
        return {}
    if uses_functions:
        return {"function_call": {"name": calls[0].name, "arguments": calls[0].arguments}}
    return {
        "tool_calls": [
            chat_writer.tool_call(call.id, call.name, call.arguments, call.signature)
            for call in calls
        ]
    }


def _reasoning(parts: tuple[AnyPart, ...]) -> Members:
    thoughts = [part.text for part in parts if isinstance(part, ThinkingPart)]
    said: Members = {"reasoning_content": "".join(thoughts)} if any(thoughts) else {}
    return said | _listed("reasoning_details", _numbered(_details(parts)))


def _details(parts: tuple[AnyPart, ...]) -> Iterator[Members]:
    for part in parts:
        match part:
            case ThinkingPart(text=text, signature=signature) if signature:
                yield chat_writer.signed_thought(text, signature)
            case RedactedThinkingPart(data=data):
                yield chat_writer.redacted_thought(data)


def _annotations(answer: Answer) -> Iterator[Members]:
    """Cited pages, with the place of the text that cites them in the joined content."""
    places: dict[int, tuple[int, int]] = {}
    chars = 0
    for number, part in enumerate(answer.parts):
        if isinstance(part, TextPart):
            places[number] = (chars, chars + len(part.text))
            chars += len(part.text)
    for citation in answer.citations:
        if citation.url and citation.index in places:
            yield chat_writer.annotation(citation, *places[citation.index])


def _images(parts: tuple[AnyPart, ...]) -> Iterator[Members]:
    for part in parts:
        if isinstance(part, ImagePart):
            yield chat_writer.image_of(image_url(part))


def _results(parts: tuple[AnyPart, ...]) -> Iterator[Members]:
    for part in parts:
        if isinstance(part, ToolResultPart):
            yield chat_writer.tool_result(
                part.tool_use_id, part.name, part.text, is_error=part.is_error
            )


def _numbered(entries: Iterator[Members]) -> list[Members]:
    return [entry | {"index": number} for number, entry in enumerate(entries)]


def _listed(name: str, entries: list[Members]) -> Members:
    return {name: entries} if entries else {}
