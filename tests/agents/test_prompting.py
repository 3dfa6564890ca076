"""What of a conversation a model is sent."""

from __future__ import annotations

import pytest

from agents import prompting
from providers.types import (
    AudioPart,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    Raw,
    RefusalPart,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)


def said(role, text):
    return Message(role=role, parts=(TextPart(text=text),))


def test_a_short_conversation_is_sent_whole():
    history = [said("user", "a"), said("assistant", "b"), said("user", "c")]
    prompt = prompting.compose(system="s", history=history)
    assert (prompt.system, list(prompt.messages)) == ("s", history)


def test_the_oldest_turns_are_left_out_whole():
    long = "x" * (prompting.HISTORY_CHARS // 2)
    history = [
        said("user", long),
        said("assistant", long),
        said("user", "b"),
        said("assistant", "c"),
        said("user", "d"),
    ]
    assert list(prompting.compose(system="", history=history).messages) == history[2:]


def test_the_question_itself_is_always_sent():
    history = [said("user", "old"), said("user", "x" * (prompting.HISTORY_CHARS * 2))]
    assert list(prompting.compose(system="", history=history).messages) == history[1:]


def test_calls_that_were_never_answered_are_left_out():
    use, orphan = (ToolUsePart(id=name, name="t", arguments="{}") for name in ("a", "b"))
    result = Message(role="tool", parts=(ToolResultPart(tool_use_id="a", text="ok"),))
    history = [
        said("user", "x"),
        Message(role="assistant", parts=(use,)),
        result,
        Message(role="assistant", parts=(TextPart(text="t"), orphan)),
        Message(role="assistant", parts=(orphan,)),
        said("user", "y"),
    ]
    sent = prompting.compose(system="", history=history).messages
    assert list(sent) == [*history[:3], said("assistant", "t"), history[5]]


@pytest.mark.parametrize("long", [prompting.HISTORY_CHARS + 1])
@pytest.mark.parametrize(
    "heavy",
    [
        lambda size: AudioPart(format="wav", data="x" * size),
        lambda size: DocumentPart(media_type="text/plain", text="x" * size),
        lambda size: DocumentPart(media_type="application/pdf", data="x" * size),
        lambda size: RefusalPart(text="x" * size),
        lambda size: OpaquePart(dialect=DialectName.MESSAGES, raw=Raw(b'"%s"' % (b"x" * size))),
        lambda size: ToolResultPart(
            tool_use_id="a", text="", media=(ImagePart(media_type="image/png", data="x" * size),)
        ),
    ],
)
def test_every_kind_of_part_has_its_weight(heavy, long):
    old = [said("user", "old"), Message(role="assistant", parts=(heavy(long),))]
    history = [*old, said("user", "new")]
    assert list(prompting.compose(system="", history=history).messages) == history[2:]
