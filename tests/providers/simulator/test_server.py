"""The process: how it starts, refuses, ends, and carries many streams at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import aiohttp
import psutil
import pytest
from django.core.management import CommandError, call_command

from tests.fakes.simulator import ROOT, running_simulator
from tests.waiting import eventually

PRODUCTION = {**os.environ, "ENVIRONMENT": "production"}


def test_it_does_not_start_in_production():
    ended = subprocess.run(
        [sys.executable, "-m", "providers.simulator", "--port", "0"],
        cwd=ROOT, env=PRODUCTION, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "does not start with ENVIRONMENT=production" in ended.stderr
    assert "ready" not in ended.stdout


def test_the_command_refuses_production_in_words(monkeypatch):
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(CommandError, match="does not start with ENVIRONMENT=production"):
        call_command("simulated_provider", port=0)


def test_the_command_names_a_port_that_is_taken():
    with running_simulator() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(CommandError, match=f"cannot serve on port {port}"):
            call_command("simulated_provider", port=port)


def test_the_command_says_when_it_is_ready_and_stops_on_sigterm():
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulated_provider", "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    with process:
        assert process.stdout.readline().startswith("simulated provider ready at http://127.0.0.1:")
        process.terminate()
        assert process.wait(15) == 0


def test_it_ends_when_the_run_that_started_it_is_gone():
    with running_simulator() as handle:
        assert handle.process.stdin is not None
        handle.process.stdin.close()
        eventually(lambda: handle.process.poll() is not None, within_s=10)
        assert handle.process.returncode == 0


def test_head_and_health_answer_without_a_key(simulator):
    assert simulator.call("GET", "/__health") == {"ok": True}
    assert simulator.call("GET", "/") == {"ok": True}


async def slow_stream(session: aiohttp.ClientSession, url: str) -> float:
    """One stream of 40 tokens at 50 per second; returns how long it took (s)."""
    prompt = "[[sim:tokens=40 delay=20]]"
    body = {
        "model": "sim-echo",
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    started = time.monotonic()
    headers = {"Authorization": "Bearer sk-simulated-0001"}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        data = await response.read()
    assert data.count(b'"content":" word') == 39
    assert data.endswith(b"data: [DONE]\n\n")
    return time.monotonic() - started


async def test_two_hundred_slow_streams_keep_their_pace_on_less_than_a_core(simulator):
    process = psutil.Process(simulator.process.pid)
    before = sum(process.cpu_times()[:2])
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        took = await asyncio.gather(*[slow_stream(session, simulator.url) for _ in range(200)])
    spent_cpu_s = sum(process.cpu_times()[:2]) - before
    assert min(took) >= 0.75
    assert spent_cpu_s < 1.5  # 8,000 paced tokens; measured 0.4 s
    rows = simulator.ledger()
    assert len(rows) == 200
    assert {(row["outcome"], row["tokens"]["output"]) for row in rows} == {("complete", 40)}
