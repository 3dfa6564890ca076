"""What the scanners of all dialects share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from billing.types import TokenCount
from ideplatform.kit.egress import AnswerBroken
from providers.adapters import usage, wire
from providers.types import StopReason, Unfinished, Usage

T = TypeVar("T")
Figures = Mapping[str, object]
DONE: Final = b"[DONE]"


class Scanner:
    """The state of one passed-on answer; `scan` is the dialect's own.

    `has_content`: something was written, nothing is tried again after it. `is_ending`: this event
    belongs to the end. `is_over`: nothing follows. `has_ended`: the answer is whole, though its
    last words may be missing.
    """

    def __init__(self) -> None:
        self.unfinished = Unfinished()
        self.has_started = False
        self.has_content = False
        self.is_ending = False
        self.is_over = False
        self.has_ended = False
        self._usage: Usage | None = None

    @property
    def forgives_cuts(self) -> bool:
        """Whether the connection may break now."""
        return False

    def scan(self, data: bytes) -> int:
        """The UTF-8 bytes that the model wrote in an event with this data.

        Raises VendorError for an error of the vendor, AnswerBroken for what is not JSON. What is
        JSON of an unknown shape is passed on unread.
        """
        raise NotImplementedError

    def reason(self) -> StopReason:
        """Why the answer ended."""
        raise NotImplementedError

    def counted(self) -> Usage | None:
        """The usage that came since this was last asked."""
        told, self._usage = self._usage, None
        return told

    def _count(
        self, read: Callable[[Figures], TokenCount], figures: object, tier: str | None
    ) -> None:
        tokens = usage.read(read, figures)
        if tokens is not None:
            self._usage = Usage(tokens=tokens, is_final=False, service_tier=wire.tier(tier))

    def _wrote(self, size: int) -> int:
        if size:
            self.has_content = True
        return size


def size_of(text: object) -> int:
    """UTF-8 bytes of a text; what is none is measured as JSON."""
    if isinstance(text, str):
        return len(text) if text.isascii() else len(text.encode())
    return 0 if text is None else len(msgspec.json.encode(text))


def decoded(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """The event, None for JSON of another shape; raises AnswerBroken for what is not JSON."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AnswerBroken from None


def whole(number: object) -> int:
    return int(number) if isinstance(number, int | float) else 0
