"""What REST costs the web process, each ratio against a floor that the same process serves."""

from __future__ import annotations

import http.client
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

from django.db import connection

import bench.environment  # noqa: F401 - stores, and Django set up
from accounts.models import User
from bench import ground
from bench.ground import Person
from bench.harness import Bound, Report, cpu_s, turns
from ideplatform.kit import ids, redis, throttle
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.types import WorkspaceRole

ROUNDS = 9
REQUESTS = 100
PEOPLE = 30
OWN_WORKSPACES = 60
"""Of each person: more than one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The running web process and who asks it."""

    pid: int
    url: str
    tokens: list[str]
    stock_tokens: list[str]

    def cpu_us(
        self, path: str, tokens: Iterable[str] = ("",), *, requests: int = REQUESTS
    ) -> float:
        """Microseconds of CPU of the web process per request, one after the other."""
        address = urlsplit(self.url)
        client = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        turning = itertools.islice(itertools.cycle(tokens), REQUESTS)
        headers = [{"Authorization": f"Bearer {token}"} if token else {} for token in turning]
        began = cpu_s([self.pid])
        for header in headers:
            client.request("GET", path, headers=header)
            answer = client.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise AssertionError(f"{path}: {answer.status} {body[:300]!r}")
        used_s = cpu_s([self.pid]) - began
        client.close()
        return used_s / REQUESTS * 1e6


def _furnished(people: list[Person]) -> None:
    """More workspaces for everybody, so that scoping has something to leave out."""
    rows = [
        Workspace(
            id=ids.new(),
            name=f"Project {number}",
            owner_id=person.user_id,
            organization_id=person.organization_id,
        )
        for person in people
        for number in range(OWN_WORKSPACES)
    ]
    Workspace.objects.bulk_create(rows, batch_size=1_000)
    WorkspaceMembership.objects.bulk_create(
        [
            WorkspaceMembership(workspace=row, user_id=row.owner_id, role=WorkspaceRole.OWNER)
            for row in rows
        ],
        batch_size=1_000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _stock_token(person: Person) -> str:
    from rest_framework_simplejwt.tokens import AccessToken  # needs the settings at once

    return str(AccessToken.for_user(User.objects.get(pk=person.user_id)))


def _limiter_cpu_us(take: Callable[[], object], calls: int = 300) -> float:
    began = time.process_time()
    for _ in range(calls):
        take()
    return (time.process_time() - began) / calls * 1e6


def _limiter(report: Report) -> None:
    """One claim against one INCR, both by the client that REST uses."""
    client = redis.client("cache")
    users = itertools.count(1)

    def ours() -> float:
        claim = throttle.of_user(throttle.READ, UUID(int=next(users)))
        return _limiter_cpu_us(lambda: throttle.take(claim))

    floor = partial(_limiter_cpu_us, lambda: client.incr("bench:floor"))
    pairs = turns(floor, ours, rounds=ROUNDS)
    report.add("limiter / INCR", pairs, unit="CPU us", bound="at most", target=2)


def _requests(report: Report, site: Site) -> None:
    def line(name: str, floor: str, ours: str, *, target: float | None) -> None:
        sides = [partial(site.cpu_us, path, site.tokens) for path in (floor, ours)]
        bound: Bound = "at most" if target is not None else ""
        pairs = turns(*sides, rounds=ROUNDS)
        report.add(name, pairs, unit="CPU us", bound=bound, target=target)

    line("authenticated / bare", "/bench/bare", "/bench/authenticated", target=1.3)
    line("authenticated and counted / bare", "/bench/bare", "/bench/counted", target=None)
    line("for_actor / unscoped list", "/bench/unscoped", "/bench/scoped", target=1.2)
    line("/ready / empty view + SELECT 1", "/bench/select-one", "/ready", target=2)


def _lists(report: Report, site: Site) -> None:
    """Lists a second of CPU: the platform's own route against stock Django REST framework."""

    def per_s(path: str, tokens: list[str]) -> float:
        return 1e6 / site.cpu_us(path, tokens)

    pairs = turns(
        partial(per_s, "/bench/stock", site.stock_tokens),
        partial(per_s, "/api/v1/workspaces?limit=50", site.tokens),
        rounds=ROUNDS,
    )
    report.add("list / stock DRF", pairs, unit="lists/s of CPU", bound="at least", target=3)


def main() -> None:
    report = Report("rest")
    ground.prepare()
    people = ground.people(PEOPLE)
    _furnished(people)
    command = (sys.executable, "-m", "bench.site")
    stores = {"DATABASE_URL": ground.database(ground.TEMPLATE)}
    with ground.web(stores, command=command) as (pid, url):
        site = Site(
            pid=pid,
            url=url,
            tokens=[person.token for person in people],
            stock_tokens=[_stock_token(person) for person in people],
        )
        _requests(report, site)
        _lists(report, site)
    _limiter(report)
    report.finish()


if __name__ == "__main__":
    main()
