"""A model's stream as events, and events as the reply they amount to."""

from __future__ import annotations

from decimal import Decimal

from agents import frames, replies
from agents.replies import ReplyBuilder
from billing.types import TokenCount, UnitClass
from ideplatform.kit import ids
from providers import types as chunks
from providers.types import StopReason, TextPart, ThinkingPart, ToolUsePart

EVENT_ID = ids.new()
USAGE = chunks.Usage(
    tokens=TokenCount({UnitClass.INPUT: 5, UnitClass.OUTPUT: 7}),
    is_final=True,
    cost_usd="0.5",
    usage_event_id=EVENT_ID,
)
ANSWERED = chunks.Answered(
    attempt=2,
    reason=StopReason.TOOL_CALLS,
    tokens=USAGE.tokens,
    is_estimated=False,
    model="m",
    service_tier="flex",
    provider_request_id="call-1",
)
STREAM = (
    chunks.Started(model="m"),
    chunks.Text(index=0, text="Look"),
    chunks.ToolCall(index=0, id="a", name="read_file"),
    chunks.ToolCall(index=1, id="b", name="list"),
    chunks.ToolArguments(index=1, delta="{"),
    chunks.ToolArguments(index=0, delta='{"path":'),
    chunks.ToolArguments(index=1, delta="}"),
    chunks.ToolArguments(index=0, delta='"x"}'),
    chunks.Text(index=0, text="ing"),
    ANSWERED,
    USAGE,
    chunks.Stop(reason=StopReason.TOOL_CALLS),
)


def played(stream):
    builder = ReplyBuilder(run_tokens=100, run_cost_usd=Decimal("1.5"))
    events = [event for chunk in stream for event in builder.take(chunk)]
    return builder, events


def test_parallel_calls_keep_their_own_arguments():
    builder, _ = played(STREAM)
    reply = builder.reply()
    assert reply.message.parts == (
        TextPart(text="Looking"),
        ToolUsePart(id="a", name="read_file", arguments='{"path":"x"}'),
        ToolUsePart(id="b", name="list", arguments="{}"),
    )
    assert (reply.stop, reply.tokens, reply.cost_usd) == ("tool_calls", 12, "0.5")


def test_the_journal_amounts_to_the_same_reply():
    builder, events = played(STREAM)
    journalled = replies.from_journal(events)
    assert journalled.is_settled
    assert journalled.reply == builder.reply()


def test_a_whole_answer_waits_for_nothing_but_its_price():
    builder, events = played(STREAM[:-2])
    assert builder.is_whole
    journalled = replies.from_journal(events)
    assert (journalled.answered, journalled.is_settled) == (ANSWERED, False)
    whole, _ = played(STREAM)
    assert replies.settled(journalled.reply, USAGE) == whole.reply()


def test_the_usage_event_carries_the_run_s_totals():
    _, events = played(STREAM)
    used = events[-1]
    assert isinstance(used, frames.Used)
    assert (used.run_tokens, used.run_cost_usd) == (112, "2.0")


def test_a_cut_stream_keeps_its_text_and_drops_unfinished_calls():
    builder, events = played(STREAM[:6])
    assert builder.reply(is_partial=True).message.parts == (TextPart(text="Look"),)
    journalled = replies.from_journal(events)
    assert not builder.is_whole
    assert journalled.answered is None
    assert journalled.reply.message.parts == (TextPart(text="Look"),)


def test_signed_thinking_goes_back_to_the_vendor_and_never_to_a_client():
    builder, events = played(
        (
            chunks.Thinking(index=0, text="hm"),
            chunks.ThinkingSignature(index=0, signature="secret"),
            chunks.Text(index=1, text="so"),
        )
    )
    assert builder.reply().message.parts[0] == ThinkingPart(text="hm", signature="secret")
    assert not any(b"secret" in frames.encode(event) for event in events)


def test_what_an_agent_does_not_use_leaves_its_reply_alone():
    builder, events = played(
        (
            chunks.Text(index=0, text="so"),
            chunks.Citation(index=0, url="https://a.example"),
            chunks.Image(index=1, media_type="image/png", data="eA=="),
            chunks.Opaque(dialect=chunks.DialectName.MESSAGES, raw=chunks.Raw(b"{}")),
            chunks.Text(index=0, text=" it is"),
        )
    )
    assert builder.reply().message.parts == (TextPart(text="so it is"),)
    assert [type(event) for event in events] == [frames.Delta, frames.Delta]
