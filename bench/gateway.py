"""What the gateway costs and adds, against a bare pass-through, LiteLLM's proxy, and no gateway.

Ours knows the caller, counts the request against a limit, holds the money, meters, settles and
keeps the exchange, all on. The floors do nothing of that: `bench.passing` forwards bytes, and
LiteLLM has a master key and no database. All stand on one core, the vendor's double and the driver
on the other, and every round measures each of them. `+PG` counts PostgreSQL (fsync on) and Redis
with ours. T1 to T14 are the lines of the design page; in brackets what we aim at.

    python -m bench.gateway           quick
    python -m bench.gateway --full    100,000 requests for the growth of memory, 10,000 for the bill
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

os.environ["BENCH_DURABLE"] = "1"  # read by the next import

import bench.environment
from accounts.models import Organization
from bench import books, caller, ground, peer
from bench.caller import Door
from bench.costs import Cost, Side, by_turns, first_tokens, paced, pairs_of, requests, tokens
from bench.harness import ROOT, ROUNDS, Report, rss_bytes
from billing.services import customers
from billing.types import BillingMode
from ideplatform.kit.crypto import Secret
from ideplatform.management import preparation
from providers.models import Provider
from providers.services import providers
from providers.services.providers import Draft
from providers.types import ProviderType
from tests.billing.funds import give, usd

PEER_REQUESTS_EACH, PEER_STREAM_TOKENS = 6, 100
"""LiteLLM takes a hundred times as long for one: fewer tell as much."""

GROWTH_REQUESTS, GROWTH_REQUESTS_FULL = 10_240, 102_400
GROWTH_AT_ONCE, GROWTH_EACH = 64, 16
MEMORY_MB = 160
DATABASE = "bench_gateway"
TRANSLATED = "bench-translated/sim-echo"
CREDIT = "100000"


def _costs(report: Report, sides: dict[str, Side], *, rounds: int) -> None:
    """T1 to T5."""
    each = {"litellm": partial(requests, each=PEER_REQUESTS_EACH)}
    asked = by_turns(
        {name: partial(each.get(name, requests), side) for name, side in sides.items()},
        rounds=rounds,
    )
    each = {"litellm": partial(tokens, count=PEER_STREAM_TOKENS)}
    streamed = by_turns(
        {name: partial(each.get(name, tokens), side) for name, side in sides.items()},
        rounds=rounds,
    )
    if "litellm" in sides:
        _against_peer(report, asked, streamed)
    ours, bare = asked["ours"], asked["bare"]
    cheaper = partial(report.add, unit="CPU us", bound="at most")
    cheaper("T3 request / bare (1.4)", pairs_of(bare, ours, "own_us"), target=1.6)
    pairs = pairs_of(bare, ours, "own_us", "all_us")
    cheaper("T3 request +PG / bare (2.5)", pairs, target=3)
    pairs = pairs_of(streamed["bare"], streamed["ours"], "own_us")
    report.add("T4 token / bare", pairs, unit="CPU us")
    pairs = pairs_of(streamed["ours"], streamed["translated"], "own_us")
    cheaper("T5 translated token / passed on", pairs, target=1.5)


Rounds = dict[str, list[Cost]]


def _against_peer(report: Report, asked: Rounds, streamed: Rounds) -> None:
    """T1, T2 and T4: how many times as much ours does with the same CPU."""
    floor, ours = asked["litellm"], asked["ours"]
    faster = partial(report.add, bound="at least")
    title, unit = "requests a CPU s", "requests"
    pairs = pairs_of(floor, ours, "own_speed")
    faster(f"T1 {title} / LiteLLM (60)", pairs, unit=unit, target=45)
    pairs = pairs_of(floor, ours, "own_speed", "all_speed")
    faster(f"T1 {title} +PG / LiteLLM (35)", pairs, unit=unit, target=25)
    pairs = pairs_of(floor, ours, "per_s")
    faster("T2 requests/s +PG / LiteLLM (30)", pairs, unit="requests/s", target=22)
    floor, ours = streamed["litellm"], streamed["ours"]
    pairs = pairs_of(floor, ours, "own_speed")
    faster("T4 tokens a CPU s / LiteLLM (130)", pairs, unit="tokens", target=100)
    pairs = pairs_of(floor, ours, "own_speed", "all_speed")
    faster("T4 tokens a CPU s +PG / LiteLLM (90)", pairs, unit="tokens", target=70)


def _first_token(report: Report, sides: dict[str, Side], *, rounds: int) -> None:
    """T6."""
    names = ("bare", "ours")
    found = by_turns({name: partial(first_tokens, sides[name]) for name in names}, rounds=rounds)
    for place, name, target, aim in ((0, "p50", 1.2, 0.8), (1, "p99", 3, 2)):
        pairs = [
            (floor[place], ours[place])
            for floor, ours in zip(found["bare"], found["ours"], strict=True)
        ]
        title = f"T6 first token {name}, 1 stream, over bare ({aim})"
        report.add(title, pairs, unit="ms", bound="at most, added", target=target)


def _pace(report: Report, sides: dict[str, Side], direct: Side, *, rounds: int) -> None:
    """T7, T8 and the first half of T9."""
    found = by_turns(
        {"direct": partial(paced, direct), "ours": partial(paced, sides["ours"])}, rounds=rounds
    )
    floor, ours = found["direct"], found["ours"]
    for field, target, aim in (("first_p50", 1.07, 1.04), ("first_p99", 1.2, 1.1)):
        report.add(
            f"T7 first token {field[-3:]}, 64 streams / direct ({aim})",
            pairs_of(floor, ours, field),
            unit="ms",
            bound="at most",
            target=target,
        )
    for field, target in (("lag_p50", 0.5), ("lag_p99", 5)):
        report.add(
            f"T8 token lag {field[-3:]}, 3,000/s, over direct",
            pairs_of(floor, ours, field),
            unit="ms",
            bound="at most, added",
            target=target,
        )
    report.add(
        f"T9 memory at 64 streams / {MEMORY_MB} MB",
        [(MEMORY_MB, one.rss_mb) for one in ours],
        unit="MiB",
        bound="at most",
        target=1,
    )


def _growth(report: Report, ours: Side, count: int) -> None:
    """The second half of T9; the first tenth warms caches and is not counted."""
    request = ours.door.request()

    def run(times: int) -> int:
        for _ in range(times // (GROWTH_AT_ONCE * GROWTH_EACH)):
            asyncio.run(caller.ask(ours.door, request, at_once=GROWTH_AT_ONCE, each=GROWTH_EACH))
        return rss_bytes([ours.pid])

    pair = (run(count // 10) / 2**20, run(count) / 2**20)
    report.add(
        f"T9 memory after {count:,} requests / before",
        [pair],
        unit="MiB",
        bound="at most",
        target=1.05,
    )


def _set_up() -> str:
    """A database with a payer of great wealth; their key."""
    ground.prepare(DATABASE)
    Provider.objects.update(config={**Provider.objects.get().config, "max_concurrency": 1_000})
    address = f"http://127.0.0.1:{bench.environment.PROVIDER_PORT}"
    draft = Draft(
        name="Translated",
        slug="bench-translated",
        type=ProviderType.ANTHROPIC,
        config={"base_url": address, "max_concurrency": 1_000},
        api_key=Secret("simulated-key"),
        billing_mode=BillingMode.PLATFORM,
        models=("sim-echo",),
    )
    providers.add(home=preparation.PLATFORM, owner_id=None, draft=draft)
    (person,) = ground.people(1)
    customers.ensure([person.organization_id])
    give(Organization.objects.get(pk=person.organization_id), usd(CREDIT))
    return books.a_key(person)


@contextmanager
def upstream() -> Iterator[str]:
    """The URL of `bench.upstream`, on the driver's core."""
    port = str(bench.environment.PROVIDER_PORT)
    words = [sys.executable, "-m", "bench.upstream", port]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        if server.stdout.readline().strip() != port:
            raise AssertionError("the upstream did not start; the reason stands above")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _raised(stack: ExitStack, url: str, key: str) -> dict[str, Side]:
    """Every side, started: ours, the bare floor, LiteLLM where it is installed."""
    pid, own = stack.enter_context(ground.web(books.environment(DATABASE)))
    ours = Side(door=Door(url=own, key=key), pid=pid, has_stores=True)
    passing = (sys.executable, "-m", "bench.passing", url)
    bare_pid, bare_url = stack.enter_context(ground.web({}, command=passing))
    sides = {
        "ours": ours,
        "translated": Side(door=Door(url=own, key=key, model=TRANSLATED), pid=pid, has_stores=True),
        "bare": Side(door=Door(url=bare_url, key="sk-bench"), pid=bare_pid),
    }
    if peer.is_installed():
        peer_pid, peer_door = stack.enter_context(peer.litellm(url))
        sides["litellm"] = Side(door=peer_door, pid=peer_pid)
    else:
        print(peer.MISSING)
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="100,000 requests and 10,000 calls")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    report = Report("gateway")
    key = _set_up()
    with upstream() as url, ExitStack() as stack:
        sides = _raised(stack, url, key)
        direct = Side(door=Door(url=url, key="sk-bench"))
        _costs(report, sides, rounds=options.rounds)
        _first_token(report, sides, rounds=options.rounds)
        _pace(report, sides, direct, rounds=options.rounds)
        _growth(report, sides["ours"], GROWTH_REQUESTS_FULL if options.full else GROWTH_REQUESTS)
        books.exact_admission(report, sides["ours"].door.url)
    books.the_bill(report, key, calls=10_000 if options.full else 600, database=DATABASE)
    report.finish()


if __name__ == "__main__":
    main()
