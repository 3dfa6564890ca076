"""Which turn of which script answers."""

from __future__ import annotations

import pytest

from tests.fakes.simulator import SimulatorHandle
from tests.providers.simulator.conftest import KEY, openai_client


def say(simulator: SimulatorHandle, *words: str, key: str = KEY, **headers: str) -> str:
    """The answer to a conversation: user, assistant, user, ..."""
    roles = ["user", "assistant"] * len(words)
    messages = [{"role": role, "content": text} for role, text in zip(roles, words, strict=False)]
    answer = openai_client(simulator, key).chat.completions.create(
        model="sim-echo", messages=messages, extra_headers=headers
    )
    return str(answer.choices[0].message.content)


def test_a_turn_answers_by_the_number_of_assistant_turns_and_the_last_repeats(simulator):
    simulator.script("talk", {"text": "one"}, {"text": "two"})
    key = "sk-simulated:talk"
    assert say(simulator, "a", key=key) == "one"
    assert say(simulator, "a", key=key) == "one"
    assert say(simulator, "a", "one", "b", key=key) == "two"
    assert say(simulator, "a", "one", "b", "two", "c", key=key) == "two"


def test_a_counting_script_gives_each_request_the_next_turn(simulator):
    simulator.script("count", {"text": "one"}, {"text": "two"}, by="counter")
    key = "sk-simulated:count"
    assert [say(simulator, "a", key=key) for _ in range(3)] == ["one", "two", "two"]


def test_posting_a_script_again_restarts_its_counter(simulator):
    simulator.script("count", {"text": "one"}, {"text": "two"}, by="counter")
    say(simulator, "a", key="sk-simulated:count")
    simulator.script("count", {"text": "new one"}, {"text": "two"}, by="counter")
    assert say(simulator, "a", key="sk-simulated:count") == "new one"


def test_a_script_named_in_a_prompt_counts_from_there(simulator):
    simulator.script("talk", {"text": "one"}, {"text": "two"})
    assert say(simulator, "hi", "Echo: hi", "[[sim:talk]] now") == "one"
    assert say(simulator, "hi", "Echo: hi", "[[sim:talk]] now", "one", "more") == "two"


def test_the_header_wins_over_the_prompt_and_the_prompt_over_the_key(simulator):
    for name in ("header", "prompt", "key"):
        simulator.script(name, {"text": f"by {name}"})
    key = "sk-simulated:key"
    assert say(simulator, "x", key=key) == "by key"
    assert say(simulator, "[[sim:prompt]]", key=key) == "by prompt"
    assert say(simulator, "[[sim:prompt]]", key=key, **{"x-sim-script": "header"}) == "by header"


def test_inline_words_shape_one_answer_and_disappear_from_the_echo(simulator):
    assert say(simulator, "[[sim:tokens=3]] go") == "word1 word2 word3"
    assert say(simulator, "go [[sim:delay=0]]") == "Echo: go"
    assert say(simulator, "[[sim:tokens=3]] go", "word1 word2 word3", "next") == "Echo: next"


def test_inline_words_override_every_turn_of_the_script(simulator):
    simulator.script("talk", {"text": "one"})
    assert say(simulator, "[[sim:talk tokens=2]]") == "word1 word2"
    simulator.script("quiet", {"first_delay_ms": 1})
    assert say(simulator, "[[sim:quiet tokens=2]]") == "word1 word2"


@pytest.mark.parametrize(
    "text",
    [
        "[[sim:tokens=many]]",
        "[[sim:tokens=999999999]]",
        "[[sim:unknown=1]]",
        "[[sim:as=poet]]",
        "[[sim:]]",
    ],
)
def test_a_directive_that_means_nothing_is_ordinary_text(simulator, text):
    assert say(simulator, text) == f"Echo: {text}"


def test_a_prompt_that_names_no_posted_script_is_answered_as_usual(simulator):
    assert say(simulator, "[[sim:nobody-posted-this]] hello") == "Echo: hello"


def test_a_key_or_header_that_names_no_script_is_an_error(simulator):
    with pytest.raises(Exception, match="No script 'nothing' was posted"):
        say(simulator, "x", key="sk-simulated:nothing")
    with pytest.raises(Exception, match="not understood"):
        say(simulator, "x", **{"x-sim-script": "tokens=many"})


@pytest.mark.parametrize(
    "script",
    [
        {"id": "x", "turns": []},
        {"id": "has space", "turns": [{"text": "a"}]},
        {"id": "x", "turns": [{"txet": "a"}]},
        {"id": "x", "turns": [{"status": 200}]},
        {"id": "x", "turns": [{"token_delay_ms": -1}]},
        {"id": "x", "turns": [{"text": "a"}], "by": "magic"},
        {"turns": [{"text": "a"}]},
    ],
)
def test_a_mistaken_script_is_refused_and_not_kept(simulator, script):
    with pytest.raises(AssertionError, match=r"400 .*Not a script"):
        simulator.call("POST", "/__scripts", script)
    with pytest.raises(Exception, match="No script 'x'"):
        say(simulator, "a", key="sk-simulated:x")


def test_recorded_requests_hold_no_secret(simulator):
    say(simulator, "hello", key="sk-very-secret-1234", **{"x-api-key": "another-secret-5678"})
    (recorded,) = simulator.requests()
    assert recorded["body"]["messages"] == [{"role": "user", "content": "hello"}]
    assert recorded["headers"]["authorization"] == "Bearer ...1234"
    assert "secret" not in str(recorded)
    assert simulator.ledger()[0]["key_hint"] == "1234"
    assert "secret" not in str(simulator.ledger())


def test_reset_forgets_everything(simulator):
    simulator.script("talk", {"text": "one"})
    say(simulator, "a", key="sk-simulated:talk")
    simulator.reset()
    assert (simulator.ledger(), simulator.requests()) == ([], [])
    with pytest.raises(Exception, match="No script 'talk'"):
        say(simulator, "a", key="sk-simulated:talk")
