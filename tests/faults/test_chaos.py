"""Random kills under streaming runs: nothing acknowledged is lost, nothing comes twice.

The gate runs a small seeded share; `make full` kills a hundred times and more.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from ideplatform.management.client import Client
from tests.faults.platform import Platform, running_platform, simulator_get
from tests.faults.readers import Reader
from tests.waiting import eventually

RUN_LIMIT_S = 120
TOKENS = 150
PAUSES_S = (0.5, 3.5)  # between two faults
VICTIMS = ("web-1", "web-2", "agents-1", "agents-2", "redis", "postgres", "flush")
STORES = ("postgres", "flush")


@dataclass(slots=True)
class Chaos:
    """Kills until `kills` processes have died, drawing victims and moments from `seed`."""

    platform: Platform
    seed: int
    kills: int
    victims: tuple[str, ...]

    async def rage(self) -> Counter[str]:
        chance, dead = random.Random(self.seed), Counter[str]()
        while sum(dead.values()) - dead["flush"] < self.kills:
            await asyncio.sleep(chance.uniform(*PAUSES_S))
            victim = chance.choice(self.victims)
            struck = (
                self.platform.flush_redis() if victim == "flush" else self.platform.kill(victim)
            )
            dead[victim] += struck
        return dead


async def _storm(
    platform: Platform, *, seed: int, kills: int, streams: int, victims: tuple[str, ...]
) -> list[Reader]:
    """Keep `streams` clients reading, each run followed by another, until the rage is over."""
    async with Client(platform.url) as client:
        await client.sign_in(**platform.user)
        workspace = (await client.call("GET", "/workspaces"))["items"][0]["id"]
        token = client.access
    rage = asyncio.create_task(Chaos(platform, seed, kills, victims).rage())

    async def one_client(number: int) -> list[Reader]:
        readers: list[Reader] = []
        while not rage.done() or not readers:
            prompt = (
                f"[[sim:tokens={TOKENS} delay=10]] stream {number}.{len(readers)} of seed {seed}"
            )
            readers.append(Reader(platform.url, token, workspace, prompt))
            await readers[-1].read(within_s=RUN_LIMIT_S)
        return readers

    finished = await asyncio.gather(*(one_client(number) for number in range(streams)))
    dead = await rage
    print(f"seed {seed}: {dict(dead)}, {sum(len(r) for r in finished)} runs")  # noqa: T201
    return [reader for readers in finished for reader in readers]


def _check_streams(platform: Platform, readers: list[Reader]) -> None:
    """Every client saw exactly the journal: each event once, in order, to the end."""
    for reader in readers:
        journal = platform.rows(
            "SELECT seq, type FROM run_events WHERE run_id = %s ORDER BY seq", reader.run_id
        )
        assert [(f["seq"], f["type"]) for f in reader.frames] == journal
        assert reader.end is not None
    states = Counter(state for (state,) in platform.rows("SELECT state FROM runs"))
    print(f"runs by state: {dict(states)}")  # noqa: T201
    assert set(states) <= {"completed", "interrupted"}, states
    whole = [reader for reader in readers if reader.end and reader.end["type"] == "complete"]
    assert [len(reader.text.split()) for reader in whole] == [TOKENS] * len(whole)


async def _check_metering(platform: Platform) -> None:
    """One usage event per dispatched call, and the provider's own ledger agrees."""
    eventually(
        lambda: (
            platform.rows(
                "SELECT count(*) FROM billing_holds WHERE state IN ('pending', 'dispatched')"
            )
            == [(0,)]
        ),
        within_s=90,
    )
    ledger = await simulator_get(platform, "/__ledger")
    served: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in ledger["rows"]:
        served[row["request_id"]].append((row["tokens"]["input"], row["tokens"]["output"]))
    metered: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for request_id, *facts in platform.rows(
        "SELECT request_id::text, accuracy, tokens_input, tokens_output FROM usage_events"
    ):
        metered[request_id].append((facts[0], facts[1], facts[2]))
    assert served.keys() <= metered.keys(), "a call that the provider served has no usage event"
    for request_id, calls in served.items():
        events = metered[request_id]
        assert len(calls) <= len(events), f"{request_id} was sent more often than metered"
        exact = Counter((put, got) for accuracy, put, got in events if accuracy == "exact")
        assert exact <= Counter(calls), f"{request_id}: an exact event the provider does not know"


async def _survives(tmp_path: Path, *, seed: int, kills: int, streams: int) -> None:
    with running_platform(
        tmp_path, "--web", "2", "--agents", "2", BILLING_MIN_LEASE_S="30"
    ) as platform:
        readers = await _storm(platform, seed=seed, kills=kills, streams=streams, victims=VICTIMS)
        _check_streams(platform, readers)
        await _check_metering(platform)


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_a_few_kills_lose_and_double_nothing(tmp_path):
    await _survives(tmp_path, seed=20260131, kills=6, streams=4)


@pytest.mark.faults
@pytest.mark.scale
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
async def test_a_hundred_kills_lose_and_double_nothing(tmp_path, seed):
    await _survives(tmp_path, seed=seed, kills=30, streams=12)


@pytest.mark.faults
@pytest.mark.scale
@pytest.mark.timeout(900)
async def test_money_outlives_its_stores(tmp_path):
    """PostgreSQL is killed and Redis emptied, again and again, under paid calls."""
    with running_platform(
        tmp_path, "--web", "2", "--agents", "2", BILLING_MIN_LEASE_S="30"
    ) as platform:
        readers = await _storm(platform, seed=8, kills=6, streams=6, victims=STORES)
        _check_streams(platform, readers)
        await _check_metering(platform)
        assert "BROKEN" not in platform.command("billing_verify")
