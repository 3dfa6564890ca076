"""The members of a hostile JSON object, one at a time: each fault is told with its place.

A whole request is never decoded into Python objects: what nobody reads stays raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from ideplatform.kit.errors import InvalidInput, Pointer
from providers.types import Raw

T = TypeVar("T")
NULL: Final = Raw(b"null")  # msgspec knows no optional Raw
FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


_decoders: Final[dict[object, msgspec.json.Decoder[Any]]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found


def decoded(raw: Raw | bytes, kind: type[T], *, at: str) -> T:
    """Raw JSON as `kind`; raises InvalidInput with the place `at`."""
    try:
        return _decoder(kind).decode(raw)
    except FAULTS:
        raise fault(at, "this is not of the expected type") from None


def is_null(raw: Raw) -> bool:
    return bytes(raw) == b"null"


def fault(at: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[Pointer(pointer=at, detail=detail)])


class Fields:
    """Members to be taken by name; what nobody took is `rest`. null counts as absent."""

    def __init__(self, members: Mapping[str, Raw]) -> None:
        self.rest = dict(members)
        self._faults: list[Pointer] = []

    def raw(self, name: str) -> Raw | None:
        """A member as it is written."""
        found = self.rest.pop(name, None)
        return None if found is None or is_null(found) else found

    def take(self, name: str, kind: type[T], default: T) -> T:
        """A member of that type; of another type, `check` will raise."""
        found = self.raw(name)
        if found is None:
            return default
        try:
            return _decoder(kind).decode(found)
        except FAULTS:
            detail = "this is not of the expected type"
            self._faults.append(Pointer(pointer=f"/{name}", detail=detail))
            return default

    def check(self) -> None:
        """Raises InvalidInput with every fault that was met."""
        if self._faults:
            first = self._faults[0]
            raise InvalidInput(f"{first.pointer}: {first.detail}", errors=self._faults)
