"""A fault happens at its stage, in its way, at its passage, and never in production."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from ideplatform.kit import failpoints
from ideplatform.kit.failpoints import FailpointMalformed, FailpointRaised

PROGRAM = """
import sys
from ideplatform.kit.failpoints import hit
for _ in range(3):
    hit(sys.argv[1]); print("passed", flush=True)
"""


def _passages(failpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "mid_stream"],
        env={**os.environ, "FAILPOINT": failpoint} | environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_kill_ends_the_process_at_the_named_passage():
    ended = _passages("mid_stream:kill@2")
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "passed\n")


def test_a_raise_is_an_unexpected_error():
    ended = _passages("other:kill,mid_stream:raise@3")
    assert (ended.returncode, ended.stdout) == (1, "passed\n" * 2)
    assert "FailpointRaised: mid_stream" in ended.stderr


def test_production_never_arms():
    ended = _passages("mid_stream:kill", ENVIRONMENT="production")
    assert (ended.returncode, ended.stdout) == (0, "passed\n" * 3)


def test_a_malformed_failpoint_stops_the_start():
    ended = _passages("mid_stream:explode")
    assert ended.returncode == 1
    assert "FailpointMalformed" in ended.stderr


def test_without_a_number_every_passage_acts_and_other_stages_pass():
    with failpoints.armed("called:raise"):
        for _ in range(3):
            with pytest.raises(FailpointRaised):
                failpoints.hit("called")
        failpoints.hit("reserved")
    failpoints.hit("called")


def test_with_a_number_one_passage_acts():
    with failpoints.armed("called:raise@2"):
        failpoints.hit("called")
        with pytest.raises(FailpointRaised):
            failpoints.hit("called")
        failpoints.hit("called")


def test_a_sleep_takes_its_time():
    with failpoints.armed("called:sleep=60"):
        started = time.monotonic()
        failpoints.hit("called")
        assert 0.06 <= time.monotonic() - started < 1


async def test_in_a_coroutine_only_the_task_stops():
    with failpoints.armed("called:hang,reserved:sleep=50"):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(failpoints.ahit("called"), 0.05)
        started = time.monotonic()
        await asyncio.gather(*(failpoints.ahit("reserved") for _ in range(20)))
        assert 0.05 <= time.monotonic() - started < 0.9
    await failpoints.ahit("called")


@pytest.mark.parametrize(
    "text", ["x", "x:", ":kill", "x:sleep", "x:sleep=-1", "x:kill@0", "x:kill@a", "X Y:kill"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(FailpointMalformed), failpoints.armed(text):
        pass
