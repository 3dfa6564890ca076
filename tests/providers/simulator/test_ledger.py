"""The ledger: one row per dispatched call, whatever becomes of the caller or of the server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from providers.simulator.frames import Frame
from providers.simulator.ledger import Ledger, Row
from providers.simulator.script import Usage
from tests.fakes.simulator import running_simulator
from tests.providers.simulator.conftest import anthropic_client, openai_client

AT = datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)
ASK = {"model": "sim-echo", "messages": [{"role": "user", "content": "one two"}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    made = Ledger(path)
    yield made
    made.close()


def a_row(**changes: object) -> Row:
    fields = {"seq": 0, "at": AT, "vendor": "openai", "operation": "chat", "path": "/p"}
    return Row(**(fields | changes))  # type: ignore[arg-type]


def test_a_call_that_never_closed_is_lost_and_charged_its_input(ledger, path):
    entry = ledger.open(a_row(request_id="r"))
    entry.dispatched(Usage(input=70, output=30), tells_usage=True)
    again = Ledger(path)
    (row,) = again.rows()
    assert (row.outcome, row.tokens) == ("lost", Usage(input=70))
    entry.complete()
    assert [r.tokens for r in Ledger(path).rows()] == [Usage(input=70, output=30)]


def test_numbering_and_dispatches_go_on_after_a_restart(ledger, path):
    ledger.open(a_row(request_id="r")).refused(429)
    again = Ledger(path)
    entry = again.open(a_row(request_id="r"))
    assert (entry.row.seq, entry.row.dispatch) == (2, 2)
    assert entry.row.provider_request_id == "req_sim_000000000002"


def test_a_torn_last_line_is_left_out(ledger, path):
    ledger.open(a_row()).complete()
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "at": "2026-')
    assert [row.seq for row in Ledger(path).rows()] == [1]


def test_a_row_closes_once(ledger):
    entry = ledger.open(a_row())
    entry.dispatched(Usage(input=5, output=5), tells_usage=True)
    entry.planned([Frame(b"x", 5)])
    entry.broken("cut")
    entry.complete()
    assert (entry.row.outcome, entry.row.tokens) == ("cut", Usage(input=5))


def test_reasoning_and_output_are_charged_by_what_was_sent_of_each(ledger):
    entry = ledger.open(a_row())
    entry.dispatched(Usage(input=5, output=40, output_reasoning=20), tells_usage=True)
    frames = [Frame(b"", 1, is_reasoning=True)] * 2 + [Frame(b"x", 1)] * 4
    entry.planned(frames)
    for frame in frames[:3]:
        entry.sent(frame)
    entry.broken("client_gone")
    assert entry.row.tokens == Usage(input=5, output=10, output_reasoning=20)


def test_anthropic_bills_thinking_inside_its_one_output_figure(simulator):
    simulator.script("cut", {"thinking": "a b c", "text": "d e f g h i j", "cut_after_tokens": 4})
    with (
        pytest.raises(Exception, match="incomplete chunked read"),
        anthropic_client(simulator, "sk-simulated:cut").messages.stream(
            max_tokens=99, **ASK
        ) as stream,
    ):
        list(stream)
    (row,) = simulator.ledger()
    assert (row["tokens"]["output"], row["tokens"]["output_reasoning"]) == (4, 0)
    assert (row["output_sent"], row["reasoning_sent"]) == (1, 3)


def test_retries_of_one_request_are_numbered(simulator):
    client = openai_client(simulator)
    for _ in range(3):
        client.chat.completions.create(**ASK, extra_headers={"x-request-id": "r-7"})
    client.chat.completions.create(**ASK)
    assert [row["dispatch"] for row in simulator.ledger(request_id="r-7")] == [1, 2, 3]
    assert len(simulator.ledger()) == 4
    assert [row["seq"] for row in simulator.ledger(after=simulator.ledger()[2]["seq"])] == [
        simulator.ledger()[3]["seq"]
    ]


def test_a_killed_server_keeps_its_ledger(path):
    with running_simulator(ledger_file=path) as first:
        openai_client(first).chat.completions.create(**ASK)
        first.kill()
    with running_simulator(ledger_file=path) as second:
        (row,) = second.ledger()
        assert (row["outcome"], row["tokens"]["output"]) == ("complete", 3)
        openai_client(second).chat.completions.create(**ASK)
        assert [row["seq"] for row in second.ledger()] == [1, 2]
