"""Which client called, and which of its conversations a call belongs to."""

from __future__ import annotations

import hashlib
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.gateway import sessions
from providers.types import (
    Call,
    CallContext,
    ClientFamily,
    Message,
    Purpose,
    TextPart,
    Tool,
)

ADA, BOB = UUID(int=1), UUID(int=2)
HOME = UUID(int=3)
SESSION = "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f"


def said(role, *texts):
    return Message(role=role, parts=tuple(TextPart(text=text) for text in texts))


def a_call(*messages, user=ADA, **values):
    context = CallContext(user_id=user, organization_id=HOME)
    messages = messages or (said("user", "hello"),)
    return Call(request_id=UUID(int=9), context=context, model="m", messages=messages, **values)


@pytest.mark.parametrize(
    ("headers", "family"),
    [
        ({"user-agent": "claude-cli/2.1.7 (external, cli)"}, "claude-code"),
        ({"x-claude-code-session-id": SESSION, "user-agent": "Bun/1.2"}, "claude-code"),
        ({"user-agent": "codex_cli_rs/0.98.0 (Ubuntu 24.4.0; x86_64) xterm"}, "codex"),
        ({"user-agent": "codex-tui/0.144.0 (Linux)"}, "codex"),
        ({"user-agent": "OpenAI/Python 2.1", "originator": "codex_vscode"}, "codex"),
        ({"user-agent": "opencode/1.0.12 ai-sdk/provider-utils/3.0.9"}, "opencode"),
        ({"x-session-affinity": "ses_1", "user-agent": "ai-sdk/provider-utils"}, "opencode"),
        ({"user-agent": "QwenCode/0.5.0 (linux; x64)"}, "qwen-code"),
        ({"user-agent": "Cline/3.40.0"}, "cline"),
        ({"user-agent": "OpenAI/JS 6.9.1", "x-title": "Cline"}, "cline"),
        ({"user-agent": "Continue/1.3.2"}, "continue"),
        ({"user-agent": "OpenAI/Python 1.99", "http-referer": "https://aider.chat"}, "aider"),
        ({"user-agent": "TheiaIDE/1.68.0 OpenAI/JS 6.9.1"}, "theia"),
        ({"user-agent": "llm/0.28"}, "llm"),
        ({"user-agent": "AsyncOpenAI/Python 2.8.1"}, "openai-sdk"),
        ({"user-agent": "OpenAI/JS 6.9.1"}, "openai-sdk"),
        ({"user-agent": "Anthropic/Python 0.75.0"}, "anthropic-sdk"),
        ({"user-agent": "curl/8.5.0"}, "other"),
        ({}, "other"),
    ],
)
def test_a_client_is_known_by_what_it_sends(headers, family):
    assert sessions.of(headers, a_call()).client is ClientFamily(family)


@pytest.mark.parametrize(
    ("headers", "values", "key"),
    [
        ({"x-claude-code-session-id": SESSION}, {}, f"session:{SESSION}"),
        ({"session-id": "s-1", "thread-id": "t-1"}, {}, "session:s-1"),
        ({"session_id": "s-2"}, {}, "session:s-2"),
        ({"thread-id": "t-2"}, {}, "session:t-2"),
        ({"x-session-id": "ses_3"}, {}, "session:ses_3"),
        ({"x-session-affinity": "ses_4"}, {}, "session:ses_4"),
        ({"x-mundial-session": "mine", "session-id": "theirs"}, {}, "session:mine"),
        ({"x-mundial-session": " \x00mi\x1bne\r\n"}, {}, "session:mine"),
        (
            {},
            {"metadata": {"user_id": f"user_9f_account_{HOME}_session_{SESSION}"}},
            f"session:{SESSION}",
        ),
        (
            {},
            {"metadata": {"user_id": f'{{"device_id":"d","session_id":"{SESSION}"}}'}},
            f"session:{SESSION}",
        ),
        ({}, {"metadata": {"user_id": "ada"}}, "user:ada"),
        ({}, {"metadata": {"user_id": "{not json"}}, "user:{not json"),
        ({}, {"extra": {"prompt_cache_key": msgspec.Raw(b'"conv-7"')}}, "cache:conv-7"),
        ({}, {"session": "conv-8"}, "cache:conv-8"),
        ({"x-session-id": "  "}, {"session": "conv-9"}, "cache:conv-9"),
    ],
)
def test_the_first_of_the_known_signs_is_the_key(headers, values, key):
    assert sessions.of(headers, a_call(**values)).key == key


def test_without_a_sign_the_first_message_of_a_person_is_the_key():
    first, grown = said("user", "fix the bug"), said("assistant", "which one?")
    begun = sessions.of({}, a_call(first)).key
    assert sessions.of({}, a_call(first, grown, said("user", "that one"))).key == begun
    expected = hashlib.sha256(f"{ADA}\0fix the bug".encode()).hexdigest()[:40]
    assert begun == f"first:{expected}"
    assert sessions.of({}, a_call(first, user=BOB)).key != begun
    assert sessions.of({}, a_call(said("user", "fix the bugs"))).key != begun


def test_a_long_key_is_told_apart_by_its_hash():
    one, other = ("x" * 300 + end for end in "ab")
    keys = {sessions.of({"x-mundial-session": value}, a_call()).key for value in (one, other)}
    assert len(keys) == 2
    assert all(len(key) <= sessions.MAX_KEY_CHARS for key in keys)


@pytest.mark.parametrize(
    "messages",
    [
        (said("system", "You are a title generator. You output ONLY a thread title."),),
        (said("user", "Analyze if this message indicates a new conversation topic. If it does"),),
        (said("developer", "Generate a concise, sentence-case title (3-7 words)"),),
        (said("user", "...please reply with a title for the chat that is 3-4 words in length,"),),
        (
            said(
                "user",
                "Provide a short and descriptive name for the given AI chat\n   conversation of",
            ),
        ),
        (
            said("user", "one"),
            said("assistant", "two"),
            said("user", "Summarize this coding conversation in under 50 characters."),
        ),
    ],
)
def test_calls_that_only_name_a_conversation_are_told_apart(messages):
    assert sessions.of({}, a_call(*messages)).purpose is Purpose.TITLE


def test_the_instruction_may_stand_in_the_system_text():
    call = a_call(system="You are a title generator. You output ONLY a thread title.")
    assert sessions.of({}, call).purpose is Purpose.TITLE


def test_a_call_with_tools_or_an_older_mention_is_a_turn():
    tool = Tool(name="edit", description="", parameters=msgspec.Raw(b"{}"))
    asked = said("user", "You are a title generator. You output ONLY a thread title.")
    assert sessions.of({}, a_call(asked, tools=(tool,))).purpose is Purpose.TURN
    later = said("user", "no, thank you")
    assert sessions.of({}, a_call(asked, said("assistant", "?"), later)).purpose is Purpose.TURN
    assert sessions.of({}, a_call()).purpose is Purpose.TURN


HOSTILE = st.text(max_size=400)
NAMES = st.sampled_from([*sessions._SESSION_HEADERS, "user-agent", "originator", "x-title"])


@given(
    headers=st.dictionaries(NAMES, HOSTILE, max_size=6),
    words=st.lists(HOSTILE, max_size=4),
    user_id=HOSTILE,
    cache_key=st.binary(max_size=60),
)
def test_whatever_clients_send_the_key_is_short_clean_and_the_same_again(
    headers, words, user_id, cache_key
):
    call = a_call(
        *(said("user", text) for text in words),
        metadata={"user_id": user_id},
        extra={"prompt_cache_key": msgspec.Raw(cache_key)},
    )
    found = sessions.of(headers, call)
    kind, _, value = found.key.partition(":")
    assert kind in {"session", "user", "cache", "first"}
    assert value
    assert len(found.key) <= sessions.MAX_KEY_CHARS
    assert not any(ord(char) < 32 for char in found.key)
    assert found.key.encode().decode() == found.key
    assert sessions.of(headers, call) == found
