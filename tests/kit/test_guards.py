"""What no parser should see is refused before it, and everything else passes."""

from __future__ import annotations

import json
import time
from io import BytesIO
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideplatform.kit import guards
from ideplatform.kit.errors import InvalidInput, PlatformError, TooLarge
from ideplatform.kit.guards import ForbiddenText, MalformedJson, TooDeep
from ideplatform.kit.parsers import GuardedJSONParser

MIB = 1024 * 1024
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=5)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
            children,
            max_size=5,
        )
    ),
    max_leaves=40,
)


def _nested(depth: int, kind: str = "[") -> bytes:
    opening, closing = {"[": (b"[", b"]"), "{": (b'{"a":', b"}")}[kind]
    return opening * (depth - 1) + (b"[]" if kind == "[" else b"{}") + closing * (depth - 1)


def _padded(body: bytes) -> bytes:
    """The same JSON among so many containers that it is judged on its text."""
    return b"[" + b"[]," * 400_000 + body + b"]"


# JSON


@given(JSON)
def test_ordinary_json_passes_unchanged(value):
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert guards.parse_json(text.encode(), max_depth=64) == value


@pytest.mark.parametrize("kind", ["[", "{"])
def test_the_deepest_allowed_level_passes_and_the_next_does_not(kind):
    guards.parse_json(_nested(32, kind))
    guards.parse_json(_nested(64, kind), max_depth=64)
    for body, depth in ((_nested(33, kind), 32), (_nested(65, kind), 64)):
        with pytest.raises(TooDeep):
            guards.parse_json(body, max_depth=depth)
        with pytest.raises(TooDeep):
            guards.check_json(body, max_depth=depth)


def test_large_bodies_of_many_containers_obey_the_same_depth():
    body = _padded(_nested(31))
    assert len(body) > MIB
    guards.check_json(body, max_bytes=8 * MIB)
    assert guards.parse_json(body, max_bytes=8 * MIB) == json.loads(body)
    for deep in (_padded(_nested(32)), _padded(_nested(500_000))):
        with pytest.raises(TooDeep):
            guards.check_json(deep, max_bytes=8 * MIB)


@pytest.mark.parametrize(
    "body", [b"[" * 1_000_000, b'{"a":' * 200_000, b"[" * 1_025 + b"]" * 1_025]
)
def test_endless_nesting_is_refused_and_crashes_nothing(body):
    with pytest.raises((TooDeep, MalformedJson)) as refused:
        guards.parse_json(body)
    assert refused.value.status == 400


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet='[]{}"\\ab,:', max_size=60))
def test_brackets_inside_strings_are_no_nesting(text):
    inside = json.dumps([text]).encode()
    assert guards.parse_json(inside, max_depth=1) == [text]
    guards.check_json(_padded(inside), max_bytes=8 * MIB, max_depth=2)


def test_the_size_is_bounded_exactly():
    guards.parse_json(b'"12345678"', max_bytes=10)
    with pytest.raises(TooLarge):
        guards.parse_json(b'"123456789"', max_bytes=10)


def test_nul_is_let_through_where_the_texts_stay_out_of_the_database():
    guards.check_json(b'{"a": "\\u0000"}', accepts_nul=True)
    with pytest.raises(guards.MalformedJson):
        guards.check_json(b'{"a": "\0"}', accepts_nul=True)
    with pytest.raises(guards.ForbiddenText):
        guards.check_json(b'{"a": "\\u0000"}')


@pytest.mark.parametrize(
    "body",
    [
        b'"a\\u0000b"',
        b'{"a\\u0000": 1}',
        b'"\\\\\\u0000"',
        b'"\0"',
        b"\0",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"[1, 123456789012345678901234567890]",
        b"1" * 5_000,
        b"-" + b"1" * 500,
        b"0." + b"1" * 500,
    ],
)
def test_nul_and_giant_numbers_are_refused(body):
    with pytest.raises(ForbiddenText):
        guards.parse_json(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'"a\\\\u0000b"', "a\\u0000b"),
        (b'"\\\\\\\\u0000"', "\\\\u0000"),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775807", -(2**63) + 1),
        (b'"123456789012345678901234567890"', "123456789012345678901234567890"),
        (b"0.1234567890123456789012345", 0.1234567890123456789012345),
        (b"1.5e300", 1.5e300),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_what_only_looks_forbidden_passes(body, value):
    assert guards.parse_json(body) == value


def test_the_gateway_may_accept_larger_whole_numbers():
    body = b'{"maximum": 18446744073709551615}'
    guards.check_json(body, max_integer=guards.GATEWAY_MAX_INTEGER)
    with pytest.raises(ForbiddenText):
        guards.check_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1,}',
        b"[1 2]",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"{'a':1}",
        b"// comment\n1",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\ud800"',
        b'"\\ud800\\u0041"',
        b'\\"[',
        b'"open',
        b"1 1",
    ],
)
def test_what_is_not_json_is_refused(body):
    for check in (guards.parse_json, guards.check_json):
        with pytest.raises(MalformedJson):
            check(body)


def test_invalid_utf8_in_a_large_body_is_refused_too():
    with pytest.raises(MalformedJson):
        guards.check_json(_padded(b'"\xed\xa0\x80"'), max_bytes=8 * MIB)


def _judged(body: bytes) -> str:
    try:
        guards.parse_json(body)
    except (MalformedJson, ForbiddenText, TooDeep):
        return "refused"
    return "parsed"


@given(st.binary(max_size=60))
def test_noise_is_parsed_or_refused_and_nothing_else(body):
    assert _judged(body) in {"parsed", "refused"}


class Item(msgspec.Struct):
    size: int
    name: Literal["a", "b"] = "a"


class Order(msgspec.Struct):
    items: list[Item]
    by: dict[str, int] = {}


ORDER = msgspec.json.Decoder(Order)


def test_a_typed_body_is_decoded():
    order = guards.decode_json(b'{"items":[{"size":3}]}', ORDER)
    assert order == Order(items=[Item(size=3)])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (b"{}", ""),
        (b'{"items":[{"size":1},{"size":"x"}]}', "/items/1/size"),
        (b'{"items":[{"size":1,"name":"c"}]}', "/items/0/name"),
        (b'{"items":[],"by":{"k":"v"}}', "/by/..."),
    ],
)
def test_a_wrong_member_is_pointed_at(body, pointer):
    with pytest.raises(InvalidInput) as wrong:
        guards.decode_json(body, ORDER)
    assert [fault.pointer for fault in wrong.value.errors] == [pointer]
    assert " - at " not in wrong.value.errors[0].detail


@pytest.mark.parametrize("text", ["a\0b", "x\ud800", "\udfff y"])
def test_text_from_elsewhere_is_checked(text):
    with pytest.raises(ForbiddenText):
        guards.check_text(text)
    guards.check_text("ação 😀")


# Where it lies


def _refusal(body: bytes, **bounds: int) -> PlatformError:
    with pytest.raises((ForbiddenText, MalformedJson)) as refused:
        guards.parse_json(body, **bounds)
    return refused.value


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "nul\\u0000l"}', "/name"),
        (b'{"name": "nul\x00l"}', "/name"),
        (b'{"messages": [{"role": "user", "content": "\\u0000"}]}', "/messages/0/content"),
        (b'[0, ["a", "b\\u0000"]]', "/1/1"),
        (b'{"a": {"b": {"nul\\u0000l": 1}}}', "/a/b"),
        (b'{"nul\\u0000l": 1}', ""),
        (b'"\\u0000"', ""),
        (b'{"a/b": {"c~d": "\\u0000"}}', "/a~1b/c~0d"),
        (b'{"quote\\"d \\\\": "\\\\\\u0000"}', '/quote"d \\'),
        (b'{"only \\\\u0000": 1, "b": "\\u0000"}', "/b"),
        (b'{"": "\\u0000"}', "/"),
        (b'{"a": {"b": "\\u0000"}, "c": "\\u0000"}', "/c"),
        (b'{"a": "\x00", "b": }', ""),
        (b'{"a": 1}\x00', ""),
    ],
)
def test_a_nul_is_pointed_at(body, pointer):
    refused = _refusal(body)
    assert (refused.code, refused.status) == ("forbidden_text", 422)
    assert [fault.pointer for fault in refused.errors] == [pointer]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "\\ud800"}', "/name"),
        (b'{"name": "\xed\xa0\x80"}', "/name"),
        (b'[{"a": "\\ud83d\\ude00", "b": "\\ude00\\ud83d"}]', "/0/b"),
        (b'[{"a": "\\\\ud800", "b": {"\\uDFFF": 1}}]', "/0/b"),
        (b'{"a": "\\ud83d\\ude00\\ude00"}', "/a"),
    ],
)
def test_half_a_surrogate_pair_is_pointed_at(body, pointer):
    refused = _refusal(body)
    assert (refused.code, refused.status) == ("malformed_json", 400)
    assert [fault.pointer for fault in refused.errors] == [pointer]


@pytest.mark.parametrize("body", [b'{"a": "\\ud83d\\ude00", }', b'{"a": "\\\\ud800", }', b"{"])
def test_what_is_no_json_for_another_reason_has_no_place(body):
    assert _refusal(body).errors == ()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": 1, "b": [5, 9223372036854775808]}', "/b/1"),
        (b'{"b": -9223372036854775809}', "/b"),
        (b'{"a": "9223372036854775808", "b": 9223372036854775808}', "/b"),
        (b'{"a": "\\"", "b\\"c": {"d": 9223372036854775808}}', '/b"c/d'),
        (b'{"a": "\\\\", "b": {"d": 99999999999999999999}}', "/b/d"),
        (b'{"a": 9223372036854775807, "b": 9223372036854775808}', "/b"),
        (b'{"a": 0.' + b"1" * 500 + b"}", "/a"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "/a"),
        (b"9223372036854775808", ""),
    ],
)
def test_a_giant_number_is_pointed_at(body, pointer):
    assert [fault.pointer for fault in _refusal(body).errors] == [pointer]


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
STEPS = st.lists(TEXTS | st.integers(0, 3), max_size=6)
FAULTS = st.sampled_from(["a\0", "\ud800b", 2**63])


@given(STEPS, FAULTS, JSON)
def test_every_place_is_found(steps, fault, neighbour):
    """The value is built from the pointer's own steps, with something harmless beside each."""
    value: object = fault
    for step in reversed(steps):
        value = {"": neighbour, step: value} if isinstance(step, str) else [0] * step + [value]
    expected = "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in steps)
    body = json.dumps(value).encode()
    assert [found.pointer for found in _refusal(body, max_depth=64).errors] == [expected]


def test_the_search_recurses_nowhere_and_takes_about_as_long_as_parsing():
    body = b"[" + b'[{"a":["\\n",1]}],' * 55_000 + b'"\\u0000"]'
    assert len(body) < MIB
    began = time.process_time()
    assert _refusal(body).errors[0].pointer == "/55000"
    assert time.process_time() - began < 2
    deepest = b"[" * 1_000 + b'"\\u0000"' + b"]" * 1_000
    assert _refusal(deepest).errors[0].pointer == "/0" * 1_000


# The DRF parser


class _View:
    max_json_bytes = 20
    max_json_depth = 2


def test_the_rest_parser_reads_no_further_than_the_view_allows():
    parser = GuardedJSONParser()
    context = {"view": _View()}
    assert parser.parse(BytesIO(b'{"a":[1]}'), None, context) == {"a": [1]}
    with pytest.raises(TooDeep):
        parser.parse(BytesIO(b'{"a":[[1]]}'), None, context)
    stream = BytesIO(b'"' + b"x" * 100 + b'"')
    with pytest.raises(TooLarge):
        parser.parse(stream, None, context)
    assert stream.tell() == 21


def test_the_rest_parser_has_defaults():
    assert GuardedJSONParser().parse(BytesIO(b"[1]")) == [1]
    with pytest.raises(TooLarge):
        GuardedJSONParser().parse(BytesIO(b" " * (MIB + 1)))
