"""A stream, laid out before its first byte leaves: events with the tokens they carry."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from .answers import Call
from .script import Usage

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. ``tokens`` paces it and is charged when it was sent.

    An event without bytes is reasoning that the vendor hides: it costs time and money only.
    """

    data: bytes
    tokens: int = 0
    is_reasoning: bool = False
    is_done: bool = False  # the end marker that ``no_done`` leaves out


def interleaved(calls: tuple[Call, ...]) -> Iterator[tuple[int, str]]:
    """(call index, argument piece), the calls taking turns."""
    longest = max((len(call.pieces) for call in calls), default=0)
    for round_ in range(longest):
        for index, call in enumerate(calls):
            if round_ < len(call.pieces):
                yield index, call.pieces[round_]


def so_far(reported: Usage, reasoning: int, output: int) -> Usage:
    """The usage that a server repeating cumulative figures tells after so many tokens."""
    return msgspec.structs.replace(reported, output=output, output_reasoning=reasoning)
