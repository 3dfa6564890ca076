"""Finds a text or a regular expression in files, line by line, in a disposable child."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

import msgspec

MAX_LINE: Final = 400
_BEFORE: Final = 80


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for in which contents; `most` bounds the matches."""

    pattern: str
    is_regex: bool
    is_case_sensitive: bool
    most: int
    contents: list[bytes]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One match: `file` indexes the contents; line and column count from 1, in code points.

    `text` is the line, or the part of a long one around the match; `offset` is where the match
    begins inside it.
    """

    file: int
    line: int
    column: int
    length: int
    text: str
    offset: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The matches in order; `is_truncated` when there were more, `fault_at` in a bad pattern."""

    found: list[Found] = []
    is_truncated: bool = False
    fault_at: int | None = None
    cpu_s: float = 0.0


def search(body: bytes) -> bytes:
    """The child's function: a Query as MessagePack to an Answer as MessagePack."""
    query = msgspec.msgpack.decode(body, type=Query)
    flags = 0 if query.is_case_sensitive else re.IGNORECASE
    try:
        pattern = re.compile(query.pattern if query.is_regex else re.escape(query.pattern), flags)
    except (re.error, OverflowError, RecursionError) as wrong:
        return msgspec.msgpack.encode(Answer(fault_at=getattr(wrong, "pos", None) or 0))
    found: list[Found] = []
    for match in _matches(pattern, query.contents):
        if len(found) == query.most:
            return msgspec.msgpack.encode(_answer(found, is_truncated=True))
        found.append(match)
    return msgspec.msgpack.encode(_answer(found, is_truncated=False))


def _answer(found: list[Found], *, is_truncated: bool) -> Answer:
    return Answer(found=found, is_truncated=is_truncated, cpu_s=time.process_time())


def _matches(pattern: re.Pattern[str], contents: list[bytes]) -> Iterator[Found]:
    for index, content in enumerate(contents):
        text = content.decode("utf-8", "replace").removeprefix("\ufeff")
        for number, line in enumerate(_lines(text), start=1):
            for match in pattern.finditer(line):
                yield _found(index, number, line, match.start(), match.end())


def _lines(text: str) -> list[str]:
    """Split as editors do: at LF, CRLF and CR alone, unlike `splitlines`."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _found(index: int, number: int, line: str, start: int, end: int) -> Found:
    first = max(0, start - _BEFORE) if len(line) > MAX_LINE else 0
    return Found(
        file=index,
        line=number,
        column=start + 1,
        length=end - start,
        text=line[first : first + MAX_LINE],
        offset=start - first,
    )
