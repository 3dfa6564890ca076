"""Two web processes that remember: what another process changes, both act on within a second."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from accounts.types import Actor
from ideplatform.kit.crypto import Secret
from ideplatform.kit.db import database_now
from ideplatform.kit.egress import AnswerTimeout
from providers.models import ModelAlias, Provider
from providers.services import aliases, health, providers, routing
from providers.services.access import Home
from providers.services.providers import Changes
from providers.types import ProviderScope, ProviderType
from tests.fakes.simulator import SimulatorHandle
from tests.providers.builders import base_url
from tests.providers.gateway.clients import Door, a_chat, a_door
from tests.waiting import eventually
from tests.walks.processes import a_web

CHAT = "/v1/chat/completions"
ALIAS = "team/any"


@pytest.fixture
def vendor(paid_door: SimulatorHandle, django_db_blocker: Any) -> Iterator[SimulatorHandle]:
    with django_db_blocker.unblock():
        yield paid_door


@pytest.fixture(params=["with a bell", pytest.param("without Redis", marks=pytest.mark.scale)])
def doors(vendor: SimulatorHandle, request: pytest.FixtureRequest) -> Iterator[tuple[Door, Door]]:
    """One person's way into each of two web processes."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        away = {"REDIS_URL": f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"}
        with_bell = request.param == "with a bell"
        environment = {"GATEWAY_CALLS_PER_MINUTE": "100000"} | ({} if with_bell else away)
        with a_web(**environment) as first, a_web(**environment) as second:
            door = a_door(first.url, vendor)
            yield door, Door(**{**vars(door), "url": second.url})


def _mine(door: Door, slug: str) -> Provider:
    """The person's own account, so that the person may change it."""
    draft = providers.Draft(
        name=slug,
        slug=slug,
        type=ProviderType.OPENAI_COMPATIBLE,
        config={"base_url": base_url("openai_compatible")},
        api_key=Secret("sk-simulated-first-1111"),
        models=("sim-echo",),
    )
    return providers.add(home=Home(scope=ProviderScope.USER), owner_id=door.user.pk, draft=draft)


def _alias(door: Door, *targets: str) -> ModelAlias:
    content = aliases.Content(targets=targets)
    home = Home(scope=ProviderScope.USER)
    return aliases.write(name=ALIAS, home=home, content=content, owner_id=door.user.pk)


def _served(door: Door) -> str:
    reply = door.send("POST", CHAT, a_chat(model=ALIAS))
    assert reply.status == 200, reply.body
    return reply.headers["x-mundial-provider"]


def _settled(doors: tuple[Door, Door], slug: str) -> None:
    """Both remember that this account serves the alias."""
    for door in doors:
        eventually(partial(_serves, door, slug))
        assert _serves(door, slug)


def _serves(door: Door, slug: str) -> bool:
    return _served(door) == slug


def _within_a_second(doors: tuple[Door, Door], change: Callable[[], object], slug: str) -> None:
    """Never an error, and a second after the change the other account serves everywhere."""
    change()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert {_served(door) for door in doors} <= {"one", "two"}
    assert [_served(door) for door in doors] == [slug, slug]


def test_every_change_of_routes_is_acted_on(doors: tuple[Door, Door]) -> None:
    door = doors[0]
    address = base_url("openai_compatible")
    actor = Actor(user_id=door.user.pk)
    one, _ = _mine(door, "one"), _mine(door, "two")
    _alias(door, "one/sim-echo", "two/sim-echo")
    _settled(doors, "one")

    def change(**values: Any) -> Callable[[], object]:
        return lambda: providers.update(
            actor=actor, provider_id=one.pk, changes=Changes(**values), version=None
        )

    _within_a_second(doors, change(is_enabled=False), "two")
    _within_a_second(doors, change(is_enabled=True), "one")
    _within_a_second(doors, change(api_key=Secret("sk-simulated-second-2222")), "one")
    secret = Secret("sk-simulated-third-3333")
    elsewhere = change(config={"base_url": address + "/elsewhere"}, api_key=secret)
    _within_a_second(doors, elsewhere, "two")
    back = change(config={"base_url": address}, api_key=secret)
    _within_a_second(doors, back, "one")
    _within_a_second(doors, lambda: _alias(door, "two/sim-echo", "one/sim-echo"), "two")
    _within_a_second(doors, lambda: _alias(door, "one/sim-echo", "two/sim-echo"), "one")

    def sick() -> None:
        route = routing.route_to(one, "sim-echo")
        for _ in range(health.MIN_SAMPLES):
            health.save(health.failed(route, AnswerTimeout(), at=database_now()))

    _within_a_second(doors, sick, "two")
