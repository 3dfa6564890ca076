"""Chunks gathered into a whole answer, for clients that do not stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from providers.gateway.dialects.contract import Answer
from providers.types import (
    AnyPart,
    Chunk,
    Citation,
    Image,
    ImagePart,
    Opaque,
    OpaquePart,
    RedactedThinking,
    RedactedThinkingPart,
    Refusal,
    RefusalPart,
    Started,
    Stop,
    Text,
    TextPart,
    Thinking,
    ThinkingPart,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolResult,
    ToolResultPart,
    ToolUsePart,
    Usage,
)

TEXT: Final = "text"
THINKING: Final = "thinking"
REFUSAL: Final = "refusal"


@dataclass(slots=True)
class _Block:
    """A part that still grows: its chunk index, its kind, what it holds so far."""

    index: int
    kind: str
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    call: ToolCall | None = None
    whole: AnyPart | None = None

    def part(self) -> AnyPart:
        if self.whole is not None:
            return self.whole
        text = "".join(self.pieces)
        if self.call is not None:
            call = self.call
            return ToolUsePart(id=call.id, name=call.name, arguments=text, signature=call.signature)
        if self.kind == THINKING:
            return ThinkingPart(text=text, signature=self.signature)
        return RefusalPart(text=text) if self.kind == REFUSAL else TextPart(text=text)


class Collector:
    """Parts in the order in which they began. Arguments of parallel calls may interleave; text and
    thinking go on in their own part until another one begins, and a signature ends its thought."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._calls: dict[int, _Block] = {}
        self._citations: list[Citation] = []
        self._started: Started | None = None

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk. Usage, the stop and passed bytes are the caller's to keep."""
        match chunk:
            case Text() | Thinking() | Refusal():
                self._growing(*_place(chunk)).pieces.append(chunk.text)
            case ThinkingSignature(index=index, signature=signature):
                self._growing(index, THINKING).signature = signature
            case ToolArguments(index=index, delta=delta):
                if (block := self._calls.get(index)) is not None:
                    block.pieces.append(delta)
            case ToolCall():
                self._calls[chunk.index] = self._opened(_Block(chunk.index, "tool", call=chunk))
            case Citation():
                self._cite(chunk)
            case Started():
                self._started = chunk
            case _:
                if (part := _whole(chunk)) is not None:
                    self._opened(_Block(-1, "whole", whole=part))

    def answer(self, usage: Usage, stop: Stop) -> Answer:
        """The answer, when the call is settled."""
        return Answer(
            started=self._started or Started(model=""),
            parts=tuple(block.part() for block in self._blocks),
            usage=usage,
            stop=stop,
            citations=tuple(self._citations),
        )

    def _growing(self, index: int, kind: str) -> _Block:
        last = self._blocks[-1] if self._blocks else None
        if last is not None and (last.index, last.kind, last.signature) == (index, kind, ""):
            return last
        return self._opened(_Block(index, kind))

    def _opened(self, block: _Block) -> _Block:
        self._blocks.append(block)
        return block

    def _cite(self, citation: Citation) -> None:
        """To the last text of this index; what belongs to no text is of no use to a client."""
        for place in reversed(range(len(self._blocks))):
            block = self._blocks[place]
            if (block.index, block.kind) == (citation.index, TEXT):
                self._citations.append(
                    Citation(
                        index=place, url=citation.url, title=citation.title, cited=citation.cited
                    )
                )
                return


def _place(chunk: Text | Thinking | Refusal) -> tuple[int, str]:
    if isinstance(chunk, Refusal):
        return -1, REFUSAL
    return chunk.index, TEXT if isinstance(chunk, Text) else THINKING


def _whole(chunk: Chunk) -> AnyPart | None:
    match chunk:
        case RedactedThinking(data=data):
            return RedactedThinkingPart(data=data)
        case Image(media_type=kind, data=data):
            return ImagePart(media_type=kind, data=data)
        case ToolResult(id=call_id, name=name, text=text, is_error=is_error):
            return ToolResultPart(tool_use_id=call_id, text=text, name=name, is_error=is_error)
        case Opaque(dialect=dialect, raw=raw):
            return OpaquePart(dialect=dialect, raw=raw)
    return None
