"""Frames: what is understood, what is refused, what a journal row looks like on the wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import frames
from agents.errors import FrameTooLarge, MalformedFrame
from agents.journal import entries
from ideplatform.kit import ids
from ideplatform.kit.errors import PlatformError


def test_a_message_without_type_but_with_messages_is_the_founding_request():
    request = frames.decode('{"messages":[{"role":"user","content":"x"}],"temperature":0.5}')
    assert isinstance(request, frames.SeedRequest)
    assert request.messages[0].content == "x"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"type":"ack","acks":[{"run_id":"x","seq":1}]}', "/acks/0/run_id"),
        ('{"type":"start","prompt":1}', "/prompt"),
        ('{"type":"ping","surplus":true}', ""),
        ('{"messages":"x"}', "/messages"),
    ],
)
def test_a_refusal_points_at_the_fault(text, pointer):
    with pytest.raises(MalformedFrame) as refused:
        frames.decode(text)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]


def test_a_message_of_more_than_256_kib_is_not_parsed():
    with pytest.raises(FrameTooLarge):
        frames.decode('{"type":"ping","nonce":"' + "x" * 262_144 + '"}')


@given(st.one_of(st.text(), st.binary()))
def test_whatever_arrives_is_a_frame_or_a_typed_refusal(data):
    assert _status(data) in {200, 400, 413}


@given(st.text(max_size=300), st.integers(1, 2**50), st.integers(0, 2**40))
def test_a_row_survives_the_wire(text, seq, fence):
    metadata = frames.DeltaMetadata(tokens=1, model="m")
    event = frames.Delta(content=text, metadata=metadata)
    run_id, step_id = ids.new(), ids.new()
    entry = entries.made(event, run_id=run_id, seq=seq, fence=fence, step_id=step_id)
    wire = json.loads(entry.wire())
    assert (wire["run_id"], wire["seq"], wire["type"]) == (str(run_id), seq, "delta")
    assert wire["content"] == text
    again = entries.read(entry.wire())
    assert again.event() == event
    assert (again.run_id, again.seq, again.fence) == (run_id, seq, fence)
    assert (again.step_id, again.at) == (step_id, entry.at)
    assert again.wire() == entry.wire()


@given(st.lists(st.tuples(st.sampled_from("dta"), st.text(max_size=6_000)), max_size=12))
def test_merging_neighbours_keeps_every_text(pieces):
    run_id = ids.new()
    made = [
        entries.made(_event(kind, text), run_id=run_id, seq=seq, fence=1, step_id=None)
        for seq, (kind, text) in enumerate(pieces, start=1)
    ]
    merged = list(entries.merged(made))
    assert _told(merged) == _told(made)
    covered = [seq for e in merged for seq in range(e.first_seq or e.seq, e.seq + 1)]
    assert covered == list(range(1, len(made) + 1))
    assert all(len(entry.body) <= 65_536 for entry in merged)


@given(st.sampled_from("dta"), st.text(min_size=1, max_size=40_000))
def test_a_long_text_becomes_rows_that_fit(kind, text):
    split = entries.split(_event(kind, text))
    assert "".join(_text(event) for event in split) == text
    assert all(len(frames.encode(event)) <= 65_536 for event in split)


def _status(data):
    try:
        frames.decode(data)
    except PlatformError as refused:
        return refused.status
    return 200


def _event(kind, text):
    if kind == "d":
        metadata = frames.DeltaMetadata(tokens=1, model="m")
        return frames.Delta(content=text, metadata=metadata)
    if kind == "t":
        return frames.Thinking(text=text)
    return frames.ToolArguments(call_id="c", delta=text)


def _text(event):
    match event:
        case frames.Delta(content=text) | frames.Thinking(text=text):
            return text
        case frames.ToolArguments(delta=text):
            return text


def _told(found):
    """Kinds and texts with neighbours joined."""
    told: list[list[str]] = []
    for entry in found:
        if told and told[-1][0] == entry.type:
            told[-1][1] += _text(entry.event())
        else:
            told.append([entry.type, _text(entry.event())])
    return told
