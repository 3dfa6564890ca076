"""How two sides become a line and a verdict."""

from __future__ import annotations

import os
import time

import pytest

from bench import harness
from bench.harness import compared

PAIRS = [(10.0, 12.0), (20.0, 22.0), (10.0, 15.0)]


@pytest.mark.parametrize(
    ("bound", "target", "verdict"),
    [
        ("at most", 1.2, "ok"),
        ("at most", 1.19, "MISSED"),
        ("at least", 1.2, "ok"),
        ("at least", 1.21, "MISSED"),
        ("at most, added", 2, "ok"),
        ("at most, added", 1.9, "MISSED"),
        ("", None, "info"),
    ],
)
def test_the_median_of_the_rounds_is_judged(bound, target, verdict):
    result = compared("x / y", PAIRS, unit="us", bound=bound, target=target)
    assert result.verdict == verdict
    assert result.is_met == (verdict != "MISSED")


def test_a_line_shows_medians_and_how_far_the_rounds_spread():
    result = compared("x / y", PAIRS, unit="us", bound="at most", target=1.3)
    assert (result.floor, result.ours, result.rounds) == (10.0, 15.0, 3)
    assert (result.lowest, result.ratio, result.highest) == (1.1, 1.2, 1.5)
    assert harness.line(result).split() == [
        *("x", "/", "y", "10.00", "15.00", "1.20", "1.10..1.50", "<=", "1.3", "ok", "[us]")
    ]


def test_what_a_busy_machine_could_not_tell_does_not_pass():
    result = compared("lag", PAIRS, unit="ms", bound="at most, added", target=9, is_void=True)
    assert (result.verdict, result.is_met) == ("VOID", False)


def test_a_line_needs_a_round():
    with pytest.raises(ValueError, match="no round"):
        compared("x / y", [], unit="us")


def test_the_sides_take_turns():
    asked = []

    def side(name):
        def measure():
            asked.append(name)
            return 1.0

        return measure

    assert harness.turns(side("floor"), side("ours"), rounds=2) == [(1.0, 1.0)] * 2
    assert asked == ["floor", "ours", "floor", "ours", "ours", "floor"]


def test_the_cpu_of_a_process_is_counted_with_its_threads():
    before, used = harness.cpu_s([os.getpid()]), time.process_time()
    deadline = used + 0.05
    while time.process_time() < deadline:
        pass
    assert harness.cpu_s([os.getpid()]) - before == pytest.approx(
        time.process_time() - used, abs=0.01
    )
