"""A gateway client's calls become conversations, whatever its history does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import resends, selectors, tasks
from agents.models import Conversation, GatewayThread
from agents.services import conversations
from agents.types import ConversationVisibility
from ideplatform.kit import ids
from ideplatform.kit.errors import InvalidInput, NotFound
from providers.types import (
    Message,
    Purpose,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from tests.agents.recorded import Client, all_told, assistant, told, user
from tests.factories import a_user, a_workspace, an_actor, join_workspace
from workspaces.types import WorkspaceRole

pytestmark = pytest.mark.django_db
SHARED = ConversationVisibility.WORKSPACE


def test_a_session_is_one_conversation_with_each_turn_once():
    client = Client()
    client.history.append(Message(role="system", parts=(TextPart(text="Be brief."),)))
    for text in ("first words\nmore", "second", "third"):
        client.say(text)
    (only,) = Conversation.objects.all()
    assert told(only) == [
        "u:first words\nmore",
        "a:Re: first words\nmore",
        "u:second",
        "a:Re: second",
        "u:third",
        "a:Re: third",
    ]
    assert (only.user_id, only.workspace_id, only.origin) == (client.person.pk, None, "gateway")
    assert (only.agent_id, only.title, only.parent_id) == ("codex", "first words", None)
    rows = selectors.messages(only.pk).order_by("no")
    assert {row.author_id for row in rows if row.role == "user"} == {client.person.pk}
    assert {row.model for row in rows if row.role == "assistant"} == {"sim-echo-1"}


def test_the_same_record_read_again_changes_nothing():
    client = Client()
    first = client.say("one")
    second = client.say("two")
    before = all_told()
    for exchange_id in (second, first, first, second):
        tasks.grow_conversation({"exchange_id": str(exchange_id)})
    assert all_told() == before == [["u:one", "a:Re: one", "u:two", "a:Re: two"]]


def test_records_that_come_in_the_wrong_order_make_the_same_conversation():
    client = Client()
    made = [client.say(text, grows=False) for text in ("one", "two", "three")]
    for exchange_id in (made[1], made[2], made[0]):
        tasks.grow_conversation({"exchange_id": str(exchange_id)})
    expected = ["u:one", "a:Re: one", "u:two", "a:Re: two", "u:three", "a:Re: three"]
    assert all_told() == [expected]


def test_what_a_lost_record_left_out_comes_with_the_next():
    client = Client()
    client.say("one")
    client.say("two", grows=False)
    client.say("three")
    expected = ["u:one", "a:Re: one", "u:two", "a:Re: two", "u:three", "a:Re: three"]
    assert all_told() == [expected]


def test_a_client_that_shortens_answers_and_moves_reminders_is_followed():
    client = Client(family="claude-code")
    note = "<system-reminder>Today is Monday.</system-reminder>"
    client.say(f"{note}\nfix it", answer="  A long answer.\n", resent="A long ans…")
    client.history[0] = user("fix it")
    client.say(f"thanks\n{note}")
    assert all_told() == [
        [f"u:{note}\nfix it", "a:  A long answer.\n", f"u:thanks\n{note}", f"a:Re: thanks\n{note}"]
    ]
    assert Conversation.objects.get().title == "fix it"


def test_results_of_tools_are_turns_of_their_own():
    client = Client()
    use = ToolUsePart(id="c1", name="read", arguments="{}")
    client.history.append(user("look"))
    client.record(parts=(TextPart(text="Looking."), use))
    client.history.append(Message(role="assistant", parts=(TextPart(text="Looking."), use)))
    result = ToolResultPart(tool_use_id="c1", text="a long file")
    client.history.append(Message(role="tool", parts=(result,)))
    client.record(answer="Done.")
    cleared = ToolResultPart(tool_use_id="c1", text="[cleared]")
    client.history[-1] = Message(role="tool", parts=(cleared,))
    client.history.append(assistant("Done."))
    client.say("thanks")
    assert all_told() == [
        [
            "u:look",
            "a:Looking.tool_use",
            "t:a long file",
            "a:Done.",
            "u:thanks",
            "a:Re: thanks",
        ]
    ]


def test_the_last_question_asked_again_has_its_new_answer():
    client = Client()
    client.say("one")
    client.history.append(user("two"))
    client.record()
    client.record(answer="a first try")
    client.record(answer="a better try")
    (only,) = Conversation.objects.all()
    assert told(only) == ["u:one", "a:Re: one", "u:two", "a:a better try"]
    assert only.messages.filter(supersedes__isnull=False).count() == 1
    client.history.append(assistant("a better try"))
    client.say("three")
    assert told(only) == [
        "u:one",
        "a:Re: one",
        "u:two",
        "a:a better try",
        "u:three",
        "a:Re: three",
    ]


def test_an_edited_history_branches_off_and_both_branches_go_on():
    client = Client()
    for text in ("one", "two", "three"):
        client.say(text)
    trunk = list(client.history)
    client.history = client.history[:2]
    client.say("two, but better")
    client.say("four")
    branched = list(client.history)
    client.history = trunk
    client.say("five")
    client.history = branched
    client.say("six")
    first, branch = Conversation.objects.order_by("created_at", "pk")
    beginning = ["u:one", "a:Re: one"]
    assert told(first) == [
        *beginning,
        "u:two",
        "a:Re: two",
        "u:three",
        "a:Re: three",
        "u:five",
        "a:Re: five",
    ]
    assert told(branch) == [
        *beginning,
        "u:two, but better",
        "a:Re: two, but better",
        "u:four",
        "a:Re: four",
        "u:six",
        "a:Re: six",
    ]
    assert (branch.parent_id, branch.root_id) == (first.pk, first.pk)


def test_an_earlier_question_asked_again_branches_off():
    client = Client()
    client.say("one")
    client.say("two")
    whole = list(client.history)
    client.history = whole[:3]
    client.record(answer="another answer")
    assert (
        all_told()
        == [
            ["u:one", "a:Re: one", "u:two", "a:Re: two"],
        ]
        or len(all_told()) == 1
    )
    client.history = whole[:1]
    client.record(answer="quite another")
    assert all_told()[-1] == ["u:one", "a:quite another"]
    assert Conversation.objects.count() == 2


def test_a_sub_agent_of_the_session_has_its_own_conversation():
    client = Client(family="claude-code")
    client.say("main task")
    sub = Client(client.person, family="claude-code")
    sub.say("search the files")
    client.say("go on")
    first, second = Conversation.objects.order_by("created_at", "pk")
    assert told(first) == ["u:main task", "a:Re: main task", "u:go on", "a:Re: go on"]
    assert told(second) == ["u:search the files", "a:Re: search the files"]
    assert second.parent_id == first.pk


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ('"Fixing the parser"\n', "Fixing the parser"),
        ("<think>hm\nhm</think>\n\n**Parser fix**", "Parser fix"),
        ('{"isNewTopic": true, "title": "Parser fix"}', "Parser fix"),
        ('```json\n{"title": "Parser fix"}\n```', "Parser fix"),
        ("x" * 100, "x" * 79 + "…"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_naming_call_gives_the_title_and_is_no_turn(answer, title, is_first):
    client = Client()
    namer = Client(client.person)
    namer.history = [user("Generate a title")]
    if is_first:
        namer.record(answer=answer, purpose=Purpose.TITLE)
    client.say("please fix the parser")
    if not is_first:
        namer.record(answer=answer, purpose=Purpose.TITLE)
    (only,) = Conversation.objects.all()
    assert only.title == title
    assert told(only) == ["u:please fix the parser", "a:Re: please fix the parser"]


def test_a_name_that_says_nothing_or_came_late_changes_nothing():
    client = Client()
    client.say("please fix the parser")
    client.record(answer="The new name", purpose=Purpose.TITLE)
    old = datetime(2025, 1, 1, tzinfo=UTC)
    client.record(answer="The old name", purpose=Purpose.TITLE, at=old)
    client.record(answer='{"isNewTopic": false, "title": null}', purpose=Purpose.TITLE)
    assert Conversation.objects.get().title == "The new name"


def test_sessions_of_other_people_and_organizations_are_others():
    one, other = Client(), Client()
    one.say("same words")
    other.say("same words")
    team = Client(one.person, workspace=a_workspace())
    team.say("same words")
    assert GatewayThread.objects.count() == 3
    assert all_told() == [["u:same words", "a:Re: same words"]] * 3


def test_an_agent_s_own_calls_make_no_second_conversation():
    Client().say("hello", model="agent/coder")
    assert not Conversation.objects.exists()


def test_a_person_reads_what_they_said_and_nobody_else_does():
    client = Client()
    client.say("a secret")
    (row,) = Conversation.objects.all()
    person = an_actor(client.person)
    assert list(selectors.conversations_of(person)) == [row]
    assert conversations.readable(actor=person, conversation_id=row.pk) == row
    key = an_actor(client.person, scopes=frozenset(), api_key_id=ids.new())
    for stranger in (an_actor(a_user()), key):
        assert list(selectors.conversations_of(stranger)) == []
        with pytest.raises(NotFound):
            conversations.readable(actor=stranger, conversation_id=row.pk)
    with pytest.raises(InvalidInput):
        conversations.share(actor=person, conversation_id=row.pk, visibility=SHARED)
    row.refresh_from_db()
    assert row.visibility == "private"


def test_a_conversation_in_a_workspace_stands_with_that_workspace_s():
    colleague, owner = a_user(), a_user()
    workspace = a_workspace(owner)
    join_workspace(workspace, colleague, WorkspaceRole.EDITOR)
    client = Client(owner, workspace=workspace)
    client.say("hello")
    (row,) = Conversation.objects.all()
    assert row.workspace_id == workspace.pk
    assert list(selectors.conversations_of(an_actor(owner), workspace_id=workspace.pk)) == [row]
    assert not selectors.conversations_of(an_actor(colleague)).exists()


def test_who_leaves_takes_along_what_was_said_outside_workspaces():
    leaver, other = Client(), Client()
    leaver.say("gone")
    other.say("stays")
    type(leaver.person).objects.filter(pk=leaver.person.pk).update(
        deleted_at=datetime(2026, 3, 1, tzinfo=UTC)
    )
    tasks.retire_user({"user_id": str(leaver.person.pk)})
    assert all_told() == [["u:stays", "a:Re: stays"]]
    assert GatewayThread.objects.get().user_id == other.person.pk


TURN = st.text("ab ", min_size=1, max_size=3).filter(str.strip)


@given(words=st.lists(TURN, max_size=6), cut=st.integers(0, 6))
@settings(max_examples=60)
def test_a_history_and_its_beginning_share_exactly_the_digests_of_the_beginning(words, cut):
    history = [message for text in words for message in (user(text), assistant("ok"))]
    whole, part = resends.turns(history), resends.turns(history[: 2 * cut])
    assert len(whole) == len(words)
    assert [turn.digest for turn in part] == [turn.digest for turn in whole[:cut]]
    assert len({turn.digest for turn in whole}) == len(whole)
    edited = [user(text + "!") for text in words[:1]] + history[1:]
    assert not {t.digest for t in resends.turns(edited)} & {t.digest for t in whole}
