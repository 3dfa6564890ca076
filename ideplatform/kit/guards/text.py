"""Structure checks of JSON before any parser sees it.

What passes is valid, of bounded size and depth, without NUL (PostgreSQL refuses it in text and
jsonb), without lone surrogates and without giant integers. No pass recurses, all run in C or once
per level. Ordinary bodies are parsed once by orjson, whose own depth is bounded, and walked by
level; a large body of very many containers is judged on its text, since its tree could take
twenty times its size.
"""

from __future__ import annotations

import re
from array import array
from functools import partial
from itertools import accumulate
from typing import Final, TypeVar

import msgspec
import orjson

from ideplatform.kit.errors import InvalidInput, MalformedRequest, Pointer, TooLarge
from ideplatform.kit.guards import places

T = TypeVar("T")
MIB: Final = 1024 * 1024
MAX_BYTES: Final = MIB
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**63 - 1
# Requests of other dialects: tool schemas name bounds such as 18446744073709551615.
GATEWAY_MAX_DEPTH: Final = 64
GATEWAY_MAX_INTEGER: Final = 10**40

# Below either bound a tree of Python objects is cheap enough to build.
_TREE_BYTES: Final = MIB
_TREE_CONTAINERS: Final = 100_000

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_AS_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_DIGITS_AS_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN: Final = b"0" * 19  # every integer of more than 63 bits has at least 19 digits
_LONG_INTEGER: Final = re.compile(rb"(?<![0-9.eE+])-?([0-9]{19,})(?![0-9.eE])")
_LONG_NUMBER: Final = re.compile(rb"[0-9]{401}")
# msgspec ends its messages with the place: "Expected `int`, got `str` - at `$.items[2].size`".
_PLACE: Final = re.compile(r"^(?P<detail>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_NOT_JSON: Final = "the body is not valid JSON in UTF-8"
_NO_NUL: Final = "no NUL is accepted"
_NO_HALVES: Final = "no lone surrogates are accepted"
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]+|\.\.\.)\]")


class TooDeep(MalformedRequest):
    code, title = "json_too_deep", "The JSON is nested too deeply"


class MalformedJson(MalformedRequest):
    code, title = "malformed_json", "The body is not JSON"


class ForbiddenText(InvalidInput):
    """The pointer names the member; the object, when one of its names is at fault."""

    code, title = "forbidden_text", "The text holds characters or numbers that cannot be kept"


def check_json(
    body: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_integer: int = MAX_INTEGER,
    accepts_nul: bool = False,
) -> None:
    """Refuse a body that no parser should see.

    Units: bytes, levels of nesting, largest absolute value of a whole number. `accepts_nul`: the
    texts stay out of PostgreSQL. Raises TooLarge 413, TooDeep 400, MalformedJson 400,
    ForbiddenText 422.
    """
    _check_bytes(body, max_bytes, max_integer, accepts_nul=accepts_nul)
    if _is_cheap_tree(body):
        _check_tree(_loads(body), max_depth)
    else:
        _check_depth(_outside_strings(body), max_depth)


def parse_json(
    body: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_integer: int = MAX_INTEGER,
) -> object:
    """The checked and parsed body; raises what `check_json` raises.

    NaN, Infinity, trailing commas, comments and invalid UTF-8 are not JSON.
    """
    _check_bytes(body, max_bytes, max_integer)
    if not _is_cheap_tree(body):
        _check_depth(_outside_strings(body), max_depth)
        return _loads(body)
    tree = _loads(body)
    _check_tree(tree, max_depth)
    return tree


def decode_json(
    body: bytes,
    decoder: msgspec.json.Decoder[T],
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_integer: int = MAX_INTEGER,
) -> T:
    """The checked body as the decoder's type.

    Raises what `check_json` raises, and InvalidInput 422 pointing at a member of a wrong type.
    """
    check_json(body, max_bytes=max_bytes, max_depth=max_depth, max_integer=max_integer)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as wrong:
        raise InvalidInput(errors=[pointer_of(wrong)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedJson(_NOT_JSON) from None


def check_text(text: str) -> None:
    """Refuse what PostgreSQL or UTF-8 cannot hold, in text that came by another way than JSON."""
    if "\0" in text or not _is_utf8(text):
        raise ForbiddenText("no NUL and no lone surrogates are accepted")


def _check_bytes(
    body: bytes, max_bytes: int, max_integer: int, *, accepts_nul: bool = False
) -> None:
    if len(body) > max_bytes:
        raise TooLarge(f"at most {max_bytes} bytes are accepted here")
    if not accepts_nul and _has_nul(body):
        raise ForbiddenText(_NO_NUL, errors=[Pointer(pointer=places.of_nul(body), detail=_NO_NUL)])
    if _LONG_RUN in body.translate(_DIGITS_AS_ZERO):
        _check_numbers(body, max_integer)


def _has_nul(body: bytes) -> bool:
    return b"\0" in body or (b"\\u0000" in body and b"\\u0000" in _single_escapes(body))


def _check_numbers(body: bytes, max_integer: int) -> None:
    fault = partial(_fault_of_numbers, max_integer=max_integer)
    if (detail := fault(_outside_strings(body))) is not None:
        place = places.of_number(body, lambda number: fault(number) is not None)
        raise ForbiddenText(detail, errors=[Pointer(pointer=place, detail=detail)])


def _fault_of_numbers(text: bytes, *, max_integer: int) -> str | None:
    if _LONG_NUMBER.search(text):
        return "a number has too many digits"
    if any(int(digits) > max_integer for digits in _LONG_INTEGER.findall(text)):
        return "a whole number is too large; send it as text"
    return None


def _is_cheap_tree(body: bytes) -> bool:
    return len(body) <= _TREE_BYTES or body.count(b"[") + body.count(b"{") <= _TREE_CONTAINERS


def _loads(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        if "depth limit" in wrong.msg:
            raise TooDeep from None
        raise _malformed(body) from None


def _malformed(body: bytes) -> MalformedJson:
    place = places.of_surrogate(body)
    if place is None:
        return MalformedJson(_NOT_JSON)
    return MalformedJson(_NO_HALVES, errors=[Pointer(pointer=place, detail=_NO_HALVES)])


def _check_tree(tree: object, max_depth: int) -> None:
    """Walk level by level: as many steps as there are levels, none of them a call deeper."""
    level: list[object] = [tree]
    for _ in range(max_depth):
        children: list[object] = []
        for node in level:
            if type(node) is dict:
                children.extend(node.values())
            elif type(node) is list:
                children.extend(node)
        level = [node for node in children if type(node) is dict or type(node) is list]
        if not level:
            return
    raise TooDeep(f"at most {max_depth} levels are accepted")


def _check_depth(outside: bytes, max_depth: int) -> None:
    """Sum opening and closing brackets; right up to the first fault, where a parser stops."""
    if b"\\" in outside:
        raise MalformedJson(_NOT_JSON)
    steps = array("b", outside.translate(_AS_STEPS, _NOT_BRACKETS))
    if max(accumulate(steps), default=0) > max_depth:
        raise TooDeep(f"at most {max_depth} levels are accepted")


def _outside_strings(body: bytes) -> bytes:
    """The body with each string as one quote; raises MalformedJson if it is not UTF-8."""
    if not _is_utf8_bytes(body):
        raise MalformedJson(_NOT_JSON)
    return b'"'.join(_single_escapes(body).replace(b'\\"', b"").split(b'"')[::2])


def _is_utf8_bytes(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _single_escapes(body: bytes) -> bytes:
    """The body without escaped backslashes: one that is left escapes what follows it."""
    return body.replace(b"\\\\", b"") if b"\\\\" in body else body


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def pointer_of(wrong: msgspec.ValidationError, *, base: str = "") -> Pointer:
    """Where msgspec found a member of a wrong type, below the place `base` that it decoded.

    Its message speaks of the schema and the place only, so it may be shown.
    """
    place = _PLACE.match(str(wrong))
    if place is None:
        return Pointer(pointer=base, detail="this is not valid here")
    steps = (name or index for name, index in _STEP.findall(place["path"] or ""))
    escaped = (step.replace("~", "~0").replace("/", "~1") for step in steps)
    path = base + "".join("/" + step for step in escaped)
    return Pointer(pointer=path, detail=place["detail"])
