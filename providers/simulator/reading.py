"""Reading untrusted JSON without trusting its shape: every helper names where it looked."""

from collections.abc import Mapping, Sequence

import msgspec

from .failures import VendorFailure, invalid

JsonObject = Mapping[str, object]


def decode(body: bytes) -> JsonObject:
    """Decode a request body that must be a JSON object; raises a vendor 400 otherwise."""
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("We could not parse the JSON body of your request.") from error
    return mapping(value, "body")


def mapping(value: object, at: str) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise _wrong(at, "an object", value)


def sequence(value: object, at: str) -> Sequence[object]:
    if isinstance(value, list):
        return value
    raise _wrong(at, "an array", value)


def objects(value: object, at: str) -> list[JsonObject]:
    """An array of objects; absent means empty."""
    if value is None:
        return []
    return [mapping(item, f"{at}[{place}]") for place, item in enumerate(sequence(value, at))]


def text(value: object, at: str) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(at, "a string", value)


def optional_text(value: object, at: str) -> str | None:
    return None if value is None else text(value, at)


def optional_mapping(value: object, at: str) -> JsonObject:
    return {} if value is None else mapping(value, at)


def optional_count(value: object, at: str, *, least: int = 1) -> int | None:
    """A whole number of at least ``least``, or nothing."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(at, f"an integer of at least {least}", value)
    return value


def optional_flag(value: object, at: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(at, "a boolean", value)


def strings(value: object, at: str) -> tuple[str, ...]:
    """A string, an array of strings or nothing."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(text(item, f"{at}[{place}]") for place, item in enumerate(sequence(value, at)))


def _wrong(at: str, expected: str, value: object) -> VendorFailure:
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null"}
    got = names.get(type(value), f"{value!r}"[:40])
    return invalid(f"Invalid type for '{at}': expected {expected}, but got {got} instead.", at=at)
