"""A value that does not show itself."""

from __future__ import annotations

import hmac
from typing import NoReturn

_DOTS = "••••••••"


class Secret:
    """A secret string: prints dots, refuses pickle, copies and JSON; only `reveal()` gives it out.

    Two secrets compare in constant time. It has no hash: a secret is no dictionary key.
    """

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # Python's way to say "unhashable"

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The plain text; call it where the bytes leave for the wire, nowhere earlier."""
        return self._value

    def last4(self) -> str:
        """The only trace that may be shown; empty when four characters would say too much."""
        return self._value[-4:] if len(self._value) >= 12 else ""

    def __repr__(self) -> str:
        return f"Secret({_DOTS})"

    def __str__(self) -> str:
        return _DOTS

    def __format__(self, format_spec: str) -> str:
        return _DOTS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied")
