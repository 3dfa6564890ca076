"""Where in a JSON body something lies that is refused: its JSON pointer (RFC 6901).

Asked only once a cheap scan has found something. What was found is replaced by a mark that no body
can hold beforehand, the body is parsed, and the mark is looked for level by level: the cost of
parsing once more, without recursion, whatever the body holds. A body that is no JSON besides has no
places, and the pointer names the whole: "".
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import orjson

# A pair of escapes is one character; what is left are halves, in escapes or in raw bytes (valid
# UTF-8 never continues 0xED with 0xA0 or more).
_SURROGATES: Final = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\xed[\xa0-\xbf][\x80-\xbf]"
)
_LONG_NUMBER: Final = re.compile(rb"(?<![0-9.eE+-])[-0-9][0-9.eE+-]{18,}+")


class _Place(NamedTuple):
    """A value, where it lies, and its name there."""

    value: object
    around: _Place | None
    name: str | int


def of_nul(body: bytes) -> str:
    """The first member whose text holds a NUL, or the object that has such a name."""
    mark = _mark()
    marked = _unescaped(body, lambda text: text.replace(b"\\u0000", mark).replace(b"\0", mark))
    return _place_of(mark, marked)


def of_surrogate(body: bytes) -> str | None:
    """The same for half of a surrogate pair; None when there is none."""
    mark = _mark()
    marked = _unescaped(body, lambda text: _SURROGATES.sub(lambda half: half[1] or mark, text))
    return _place_of(mark, marked) if mark in marked else None


def of_number(body: bytes, is_refused: Callable[[bytes], bool]) -> str:
    """The first member that is a number of 19 characters or more and refused."""
    mark, quote, inner_quote = _mark(), _mark(), _mark()

    def marked(text: bytes) -> bytes:
        pieces = text.replace(b'\\"', inner_quote).split(b'"')
        outside = _LONG_NUMBER.sub(
            lambda number: quote + mark + quote if is_refused(number[0]) else number[0],
            b'"'.join(pieces[::2]),
        )
        pieces[::2] = outside.split(b'"')
        return b'"'.join(pieces).replace(quote, b'"').replace(inner_quote, b'\\"')

    return _place_of(mark, _unescaped(body, marked))


def _mark() -> bytes:
    return secrets.token_hex(16).encode()


def _unescaped(body: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The body changed where no backslash is escaped: one that is left escapes what follows it."""
    if b"\\\\" not in body:
        return change(body)
    backslash = _mark()
    return change(body.replace(b"\\\\", backslash)).replace(backslash, b"\\\\")


def _place_of(mark: bytes, marked: bytes) -> str:
    try:
        tree = orjson.loads(marked)
    except orjson.JSONDecodeError:
        return ""
    text = mark.decode()
    level = [_Place(tree, None, "")]
    while level:
        for place in level:
            if (found := _holder(place, text)) is not None:
                return _pointer(found)
        level = [inner for place in level for inner in _containers(place)]
    return ""


def _holder(place: _Place, text: str) -> _Place | None:
    """The container for one of its names, or the string in it."""
    if isinstance(place.value, dict) and any(text in name for name in place.value):
        return place
    for name, value in _members(place.value):
        if type(value) is str and text in value:
            return _Place(value, place, name)
    return None


def _containers(place: _Place) -> Iterator[_Place]:
    for name, value in _members(place.value):
        if type(value) is dict or type(value) is list:
            yield _Place(value, place, name)


def _members(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _pointer(place: _Place) -> str:
    names: list[str] = []
    while place.around is not None:
        names.append(str(place.name).replace("~", "~0").replace("/", "~1"))
        place = place.around
    return "".join("/" + name for name in reversed(names))
