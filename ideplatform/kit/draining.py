"""Leaving without loss: long-lived connections hear of a shutdown and say good-bye.

A socket subscribes when it is accepted and unsubscribes when it closes. At a shutdown its
farewell runs once: it sends what its client needs to go on elsewhere (a ``draining`` frame
with cursors) and closes with 1012. Farewells are spread over time, so that the clients of
a process do not reconnect to its neighbours all at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

Farewell = Callable[[], Awaitable[None]]
FAREWELL_S = 5  # of one connection; a client that does not read is not waited for

_farewells: dict[int, Farewell] = {}
_next_ticket = 0


def subscribe(farewell: Farewell) -> Callable[[], None]:
    """Call ``farewell`` at a shutdown; answers the function that takes this back."""
    global _next_ticket
    _next_ticket += 1
    ticket = _next_ticket
    _farewells[ticket] = farewell

    def unsubscribe() -> None:
        _farewells.pop(ticket, None)

    return unsubscribe


def subscribed() -> int:
    """How many connections wait for a farewell."""
    return len(_farewells)


async def announce(*, spread_s: float) -> None:
    """Run every farewell once, evenly over ``spread_s`` seconds, and wait for the last."""
    tickets = list(_farewells)
    pause_s = spread_s / len(tickets) if tickets else 0
    await asyncio.gather(
        *(_say(ticket, after_s=place * pause_s) for place, ticket in enumerate(tickets))
    )


async def _say(ticket: int, *, after_s: float) -> None:
    """One farewell; a connection that ended while it waited its turn needs none."""
    await asyncio.sleep(after_s)
    farewell = _farewells.pop(ticket, None)
    if farewell is None:
        return
    try:
        async with asyncio.timeout(FAREWELL_S):
            await farewell()
    except Exception:  # one broken socket must not keep the others from hearing
        log.warning("farewell.failed", exc_info=True)
