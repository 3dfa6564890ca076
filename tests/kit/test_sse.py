"""Server-sent events arrive whole, however the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideplatform.kit.egress import AnswerTooLarge, SseEvent, SseParser

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b'event: delta\r\ndata: {"text": "a\xc3\xa7\xc3\xa3o \xf0\x9f\x98\x80"}\r\n\r\n'
    b"data:first\ndata: second\ndata:\n\n"
    b"id: 7\rdata: with CR\r\r"
    b"data\n\n"
    b"unknown: x\nid: bad\x00id\nretry: 10\ndata:  two spaces\n\n"
    b"event: without data\n\n"
    b"data: [DONE]\n\n"
    b"data: never finished"
)
EVENTS = [
    SseEvent("delta", '{"text": "ação 😀"}'.encode(), ""),
    SseEvent("", b"first\nsecond\n", ""),
    SseEvent("", b"with CR", "7"),
    SseEvent("", b"", "7"),
    SseEvent("", b" two spaces", "7"),
    SseEvent("", b"[DONE]", "7"),
]


def _events(pieces: list[bytes], **options: int) -> list[SseEvent]:
    parser = SseParser(**options)
    return [event for piece in pieces for event in parser.feed(piece)]


def test_a_stream_in_one_piece():
    assert _events([STREAM]) == EVENTS


def test_a_stream_byte_by_byte():
    assert _events([STREAM[i : i + 1] for i in range(len(STREAM))]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12).map(sorted))
def test_a_stream_cut_anywhere(cuts):
    edges = [0, *cuts, len(STREAM)]
    assert _events([STREAM[a:b] for a, b in pairwise(edges)]) == EVENTS


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_noise_never_breaks_the_parser(pieces):
    assert _events(pieces) == _events([b"".join(pieces)])


def test_an_event_is_delivered_with_the_piece_that_ends_it():
    parser = SseParser()
    assert parser.feed(b"data: x\r\n\r") == [SseEvent("", b"x", "")]
    assert parser.feed(b"\ndata: y\n\n") == [SseEvent("", b"y", "")]


def test_a_line_of_the_exact_limit_passes_and_one_byte_more_does_not():
    line = b"data:" + b"x" * 95
    assert _events([line + b"\n\n"], max_line_bytes=100) == [SseEvent("", b"x" * 95, "")]
    for pieces in ([line + b"y\n\n"], [line, b"y"]):
        with pytest.raises(AnswerTooLarge):
            _events(pieces, max_line_bytes=100)


def test_many_short_lines_of_one_event_are_bounded_too():
    with pytest.raises(AnswerTooLarge):
        _events([b"data: 0123456789\n"] * 20, max_line_bytes=100)
