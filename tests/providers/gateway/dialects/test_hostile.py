"""Requests that nobody means well with: refused cheaply as bad input, or carried as they are."""

from __future__ import annotations

import json
from contextlib import suppress
from time import process_time
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideplatform.kit.errors import InvalidInput, TooLarge
from providers.gateway.dialects import chat, messages
from providers.gateway.dialects.contract import Asked
from providers.types import Call, TextPart
from tests.providers.gateway.dialects.vendors import CONTEXT

DIALECTS = [chat, messages]
pytestmark = pytest.mark.parametrize("dialect", DIALECTS, ids=["chat", "messages"])


def read(dialect, body: bytes) -> Call:
    asked: Asked = dialect.read(body, headers={}, request_id=uuid4(), context=CONTEXT)
    return asked.call


def a_body(inner: bytes) -> bytes:
    return b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":%b}]}' % inner


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b'{"model":"m","messages":[]} trailing',
        a_body(b'"\\ud800"'),
        a_body(b'"\xed\xa0\x80"'),
        a_body(b'"\0"'),
        b'{"model":"m","messages":[],"temperature":NaN}',
        b'{"model":"m","messages":[],"temperature":Infinity}',
        b'{"model":"m","messages":[],"temperature":1e999}',
        b'{"model":"m","messages":[],"seed":' + b"9" * 5_000 + b"}",
        b'{"model":"m","messages":[],"x":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"model":"m","messages":[],"x":' + b"[" * 1_000_000,
        b'{"model":"m","messages":' + b'{"a":' * 1_000_000,
    ],
    ids=range(18),
)
def test_what_is_no_request_is_refused(dialect, body):
    with pytest.raises(InvalidInput):
        read(dialect, body)


def test_sixty_four_levels_are_read(dialect):
    inner = b"[" * 63 + b"]" * 63
    assert bytes(read(dialect, b'{"model":"m","messages":[],"x":%b}' % inner).extra["x"]) == inner


def test_more_than_the_limit_is_too_large(dialect):
    with pytest.raises(TooLarge):
        read(dialect, a_body(b'"' + b"x" * (32 * 1024 * 1024) + b'"'))


def test_depth_costs_next_to_nothing(dialect):
    body = b'{"model":"m","messages":[],"x":' + b"[" * 8_000_000
    began = process_time()
    with pytest.raises(InvalidInput):
        read(dialect, body)
    assert process_time() - began < 2


def test_nul_in_what_a_tool_said_is_carried(dialect):
    (message,) = read(dialect, a_body(b'"a\\u0000b"')).messages
    assert message.parts == (TextPart(text="a\0b"),)


def test_a_very_wide_request_is_read(dialect):
    blocks = b",".join([b'{"type":"text","text":"x"}'] * 20_000)
    (message,) = read(dialect, a_body(b"[%b]" % blocks)).messages
    assert len(message.parts) == 20_000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "tool_calls",
        "tool_call_id",
        "tool_use_id",
        "function",
        "name",
        "arguments",
        "input",
        "id",
        "source",
        "data",
        "url",
        "image_url",
        "file",
        "file_data",
        "input_audio",
        "reasoning_details",
        "thinking_blocks",
        "signature",
        "extra_content",
        "google",
        "images",
        "cache_control",
        "ttl",
        "schema",
        "json_schema",
        "format",
        "effort",
    ]
)
WORDS = st.sampled_from(
    [
        "text",
        "image",
        "image_url",
        "document",
        "file",
        "tool_use",
        "tool_result",
        "thinking",
        "function",
        "custom",
        "json_schema",
        "enabled",
        "assistant",
        "tool",
        "user",
        "base64",
        "data:image/png;base64,AA",
        "data:,%zz",
        "content",
        "search_result",
        "reasoning.text",
    ]
)
SHAPES = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
MEMBERS = st.dictionaries(
    st.sampled_from(
        [
            "system",
            "tools",
            "functions",
            "function_call",
            "tool_choice",
            "metadata",
            "user",
            "thinking",
            "reasoning",
            "reasoning_effort",
            "response_format",
            "output_config",
            "output_format",
            "stop",
            "stop_sequences",
            "stream_options",
            "max_tokens",
            "unknown",
        ]
    ),
    SHAPES,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(messages=st.lists(SHAPES, max_size=3), members=MEMBERS)
def test_any_json_at_all_is_read_or_refused(dialect, messages, members):
    body = json.dumps({"model": "m", "messages": messages} | members).encode()
    with suppress(InvalidInput):
        assert len(read(dialect, body).messages) >= len(messages)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_at_all_are_refused(dialect, body):
    with pytest.raises(InvalidInput):
        read(dialect, body)


@settings(max_examples=50, deadline=None)
@given(
    unknown=st.dictionaries(
        st.text(min_size=1, max_size=8).map("x_".__add__).filter(lambda name: "\0" not in name),
        JSON.filter(lambda value: "9" * 19 not in json.dumps(value)),
        max_size=4,
    )
)
def test_unknown_members_survive(dialect, unknown):
    body = json.dumps({"model": "m", "messages": []} | unknown).encode()
    extra = read(dialect, body).extra
    assert {name: json.loads(bytes(raw)) for name, raw in extra.items()} == unknown
