"""Identifiers: UUIDv7 (RFC 9562), and the prefixed form that people read.

The public form is `<prefix>_` 26 characters of lower-case Crockford base32: it sorts by time.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid5

import uuid_utils.compat

from ideplatform.kit.errors import NotFound

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
LENGTH = 26


def new() -> UUID:
    """A fresh UUIDv7: ordered by creation time within a process."""
    return uuid_utils.compat.uuid7()


def earliest(moment: datetime) -> UUID:
    """The smallest UUIDv7 of that millisecond: whatever was made since has a larger one."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)


def derived(parent: UUID, *parts: object) -> UUID:
    """The UUIDv5 of `parts` under `parent`: the same parts give the same id."""
    return uuid5(parent, "/".join(str(part) for part in parts))


def base32(value: UUID) -> str:
    """The 26 characters of a UUID."""
    number = value.int
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def from_base32(text: str) -> UUID:
    """The UUID of 26 characters; raises ValueError on anything else."""
    if len(text) != LENGTH or not set(text) <= _VALUES.keys() or text[0] > "7":
        raise ValueError("not a base32 identifier")
    number = 0
    for letter in text:
        number = number << 5 | _VALUES[letter]
    return UUID(int=number)


def public(prefix: str, value: UUID) -> str:
    """`prv_01h...`: what a person reads."""
    return f"{prefix}_{base32(value)}"


def parse(text: str, *, prefix: str = "") -> UUID:
    """The UUID of a public or plain id.

    Raises NotFound: an id that cannot exist is answered like one that does not.
    """
    try:
        if prefix and text.startswith(prefix + "_"):
            return from_base32(text.removeprefix(prefix + "_"))
        if len(text) != 36:
            raise ValueError("not a UUID in its usual form")
        return UUID(text)
    except (ValueError, AttributeError, TypeError):
        raise NotFound from None
