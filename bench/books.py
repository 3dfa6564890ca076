"""T13 and T14: the bill against the vendor's ledger, and who is let in on little money."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp
import psutil

import bench.environment
from accounts.models import Organization, User
from accounts.services import api_keys, sessions
from accounts.types import Actor, Scope
from bench import caller, ground
from bench.caller import Door
from bench.ground import Person
from bench.harness import Report
from billing.models import Hold, UsageEvent
from billing.services import customers, holds
from tests.billing.funds import give, money_of, take, usd
from tests.fakes.simulator import SimulatorHandle, running_simulator

ADMITTED, ASKING = 10, 200
ANSWER_TOKENS = 10_000
LONG_MS = 4_000
AT_ONCE = 32
CUT, BUSY, REPEATED = 0.10, 0.05, 0.05
TOKENS = 40
SWEPT_WITHIN_S = 120
SEED = 13


def environment(database: str) -> dict[str, str]:
    """For the web process that is measured: the rate limit is asked, and never reached."""
    return {
        "DATABASE_URL": ground.database(database),
        "REDIS_URL": ground.redis_database(1),
        "GATEWAY_CALLS_PER_MINUTE": "1000000",
    }


def a_key(person: Person) -> str:
    """A key of the person for the gateway, in the database that this process points at."""
    user = User.objects.get(pk=person.user_id)
    _, secret = api_keys.create(
        actor=Actor(user_id=user.pk, session_id=sessions.begin(user=user).pk),
        organization_id=person.organization_id,
        name="bench",
        scopes=[Scope.GATEWAY_CALL],
    )
    return secret.reveal()


def exact_admission(report: Report, url: str) -> None:
    """T14: a key whose wallet covers ten answers, and two hundred who ask at the same moment."""
    (person,) = ground.people(1, first=14)
    payer = Organization.objects.get(pk=person.organization_id)
    customers.ensure([payer.pk])
    give(payer, usd("100"))
    door = Door(url=url, key=a_key(person))
    request = door.request(tokens=10, first_ms=LONG_MS, max_tokens=ANSWER_TOKENS)
    asyncio.run(caller.ask(door, request, at_once=1, each=1))
    (price,) = Hold.objects.filter(customer_id=payer.pk).values_list("amount", flat=True)
    paid, promo, _ = money_of(payer)
    half = (price / 2).quantize(price)
    take(payer, paid + promo - price * ADMITTED - half)
    heard = asyncio.run(caller.ask(door, request, at_once=ASKING, each=1, refusals=(402,)))
    admitted = sum(one.status == 200 for one in heard)
    pair = (float(ADMITTED), float(admitted))
    for name, bound in (("at most", "at most"), ("at least", "at least")):
        report.add(
            f"T14 admitted of {ASKING} for {ADMITTED}, {name}",
            [pair],
            unit="calls",
            bound=bound,
            target=1,
        )


@dataclass
class _Traffic:
    """Calls of every kind, by a seed; what the clients saw."""

    door: Door
    seen: Counter[str] = field(default_factory=Counter)
    wanted: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def flow(self, numbers: range) -> None:
        waiting = iter(numbers)
        async with aiohttp.ClientSession() as http:
            self._http = http
            await asyncio.gather(*(self._client(waiting) for _ in range(AT_ONCE)))

    async def reached(self, count: int) -> None:
        """Return when so many calls were answered."""
        self.wanted = count
        await self.enough.wait()

    async def _client(self, waiting: Iterator[int]) -> None:
        for number in waiting:
            key = str(uuid4())
            body = self._body(number)
            times = 2 if random.Random(SEED * number + 1).random() < REPEATED else 1
            for _ in range(times):
                await self._ask(body, key)
            if sum(self.seen.values()) >= self.wanted:
                self.enough.set()

    async def _ask(self, body: dict[str, object], key: str) -> None:
        headers = {"authorization": f"Bearer {self.door.key}", "idempotency-key": key}
        try:
            async with self._http.post(
                f"{self.door.url}/v1/chat/completions", json=body, headers=headers
            ) as answer:
                await answer.read()
                self.seen[str(answer.status)] += 1
        except aiohttp.ClientError:
            self.seen["gone"] += 1

    def _body(self, number: int) -> dict[str, object]:
        chance = random.Random(SEED * number).random()
        words = f"tokens={TOKENS} delay=2"
        if chance < CUT:
            words += f" cut={1 + number % (TOKENS - 1)}"
        elif chance < CUT + BUSY:
            words += " status=429 retry_after=0"
        prompt = f"[[sim:{words}]] This is number {number}."
        return {
            "model": "sim-echo",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 200,
            "stream": number % 4 != 0,
        }


def the_bill(report: Report, key: str, *, calls: int, database: str) -> None:
    """T13: cut streams, refusals, repetitions, and a web process killed in the midst."""
    with running_simulator(port=bench.environment.PROVIDER_PORT) as vendor:
        middle = calls // 2
        with _web(database) as (pid, url):
            asyncio.run(_killed(_Traffic(Door(url=url, key=key)), range(middle), pid))
        with _web(database) as (_, url):
            traffic = _Traffic(Door(url=url, key=key))
            asyncio.run(traffic.flow(range(middle, calls)))
            _sweep()
        _compare(report, vendor)


@contextmanager
def _web(database: str) -> Iterator[tuple[int, str]]:
    """A web process that may die."""
    with ground.web(environment(database), may_end=True) as found:
        yield found


async def _killed(traffic: _Traffic, numbers: range, pid: int) -> None:
    """Half of the traffic; two thirds through, the process is gone."""
    flow = asyncio.create_task(traffic.flow(numbers))
    await traffic.reached(len(numbers) * 2 // 3)
    psutil.Process(pid).kill()
    await flow


def _sweep() -> None:
    """Until no call's money is held any more: what beat does every 15 s."""
    deadline = time.monotonic() + SWEPT_WITHIN_S
    while Hold.objects.filter(state__in=("pending", "dispatched")).exists():
        if time.monotonic() > deadline:
            raise AssertionError("some calls were never settled")
        time.sleep(1)
        holds.sweep()


def _compare(report: Report, vendor: SimulatorHandle) -> None:
    charged = Counter(
        row["request_id"] for row in vendor.ledger() if row["outcome"] not in ("open", "refused")
    )
    figures = {
        row["request_id"]: row["tokens"]
        for row in vendor.ledger()
        if row["outcome"] not in ("open", "refused")
    }
    events = UsageEvent.objects.filter(request_id__in=list(charged)).values_list(
        "request_id", "accuracy", "tokens_input", "tokens_output", "tokens_reasoning"
    )
    billed = Counter(str(request_id) for request_id, *_ in events)
    missing = sum((charged - billed).values())
    double = sum((billed - charged).values())
    wrong, ours, theirs = 0, 0, 0
    for request_id, accuracy, tokens_in, tokens_out, thought in events:
        tokens = figures[str(request_id)]
        wanted = tokens["input"] + tokens["output"] + tokens["output_reasoning"]
        found = tokens_in + tokens_out + thought
        if accuracy == "exact":
            wrong += found != wanted
        else:
            ours, theirs = ours + found, theirs + wanted
    total = sum(charged.values())
    for name, count in (("missing", missing), ("double", double), ("wrong, exact", wrong)):
        report.add(
            f"T13 bills {name}, of {total:,} calls",
            [(0.0, float(count))],
            unit="calls",
            bound="at most, added",
            target=0,
        )
    if theirs:
        report.add(
            "T13 estimated tokens off the ledger",
            [(1.0, 1 + abs(ours - theirs) / theirs)],
            unit="share",
            bound="at most",
            target=1.02,
        )
