"""A whole answer as a Response object."""

from __future__ import annotations

from collections.abc import Sequence

from providers.gateway.dialects import responses_object as objects
from providers.gateway.dialects import responses_signed
from providers.gateway.dialects.contract import Answer, Opening
from providers.gateway.dialects.responses_object import Item, ResponseObject
from providers.types import (
    AnyPart,
    Citation,
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


def render(answer: Answer, opening: Opening) -> bytes:
    """The object with all its output; see `contract.Dialect.render`."""
    has_refused = any(isinstance(part, RefusalPart) for part in answer.parts)
    ended = objects.ending(answer.usage, answer.stop, has_refused=has_refused)
    items = _Items(opening, answer.citations, last_status=ended.item_status)
    for place, part in enumerate(answer.parts):
        items.add(part, place, is_last=place == len(answer.parts) - 1)
    return ResponseObject(opening).encoded(ended.state, items.output(), ended.members)


class _Items:
    """Output items in order; neighbouring texts are the content of one message."""

    def __init__(
        self, opening: Opening, citations: Sequence[Citation], *, last_status: str
    ) -> None:
        self._base = opening.answer_id.removeprefix("resp_")
        self._names = opening.asked.tool_names
        self._citations = citations
        self._last_status = last_status
        self._output: list[object] = []
        self._content: list[Item] | None = None
        self._message: Item = {}

    def output(self) -> list[object]:
        return self._output

    def add(self, part: AnyPart, place: int, *, is_last: bool) -> None:
        if isinstance(part, TextPart | RefusalPart):
            self._say(part, place, is_last=is_last)
            return
        self._content = None
        match part:
            case ThinkingPart(text=text, signature=signature):
                self._output.append(objects.thought(self._id("rs"), text, signature))
            case RedactedThinkingPart(data=data):
                self._reason(responses_signed.redacted(data))
            case ToolUsePart():
                self._call(part, is_last=is_last)
            case ToolResultPart(name=name, text=text, is_error=is_error):
                item = objects.tool_result(self._id("mcp"), name, text, is_error=is_error)
                self._output.append(item)
            case ImagePart(media_type=kind, data=data):
                item = objects.image(self._id("ig"), kind, data, status="completed")
                self._output.append(item)
            case OpaquePart(dialect=DialectName.RESPONSES, raw=raw):
                self._output.append(raw)

    def _say(self, part: TextPart | RefusalPart, place: int, *, is_last: bool) -> None:
        status = self._last_status if is_last else "completed"
        if self._content is None:
            self._content = []
            self._message = objects.message(self._id("msg"), self._content, status=status)
            self._output.append(self._message)
        self._message["status"] = status
        if isinstance(part, RefusalPart):
            self._content.append(objects.refusal_part(part.text))
            return
        cited = [
            objects.annotation(found, 0, len(part.text))
            for found in self._citations
            if found.index == place and found.url
        ]
        self._content.append(objects.text_part(part.text, cited))

    def _call(self, part: ToolUsePart, *, is_last: bool) -> None:
        if part.signature:
            self._reason(responses_signed.of_call(part.id, part.signature))
        tool = self._names.get(part.name)
        status = self._last_status if is_last else "completed"
        name = self._id("ctc" if tool and tool.is_custom else "fc")
        item = objects.call(name, part.id, part.name, part.arguments, tool, status=status)
        self._output.append(item)

    def _reason(self, encrypted: str) -> None:
        self._output.append(objects.reasoning(self._id("rs"), "", encrypted))

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._base}_{len(self._output)}"
