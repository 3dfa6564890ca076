"""Processes that die in the midst of money.

`python -m tests.faults.victims` loads Django once; for each order, a line of JSON, it forks a
process that does one piece of work with a failpoint armed, and answers how that process ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connections

ROOT = Path(__file__).resolve().parents[2]
KILLED = -9


@dataclass(frozen=True, slots=True)
class Victims:
    """The process that forks them."""

    process: subprocess.Popen[str]

    def die(self, work: str, *, at: str, **arguments: Any) -> None:
        """Let a process do some work and be killed at a failpoint."""
        ended = self.end_of(work, failpoint=f"{at}:kill", **arguments)
        assert ended == KILLED, f"{work} passed no {at}: {ended}"

    def end_of(self, work: str, *, failpoint: str, **arguments: Any) -> int:
        """The exit code of a process that did some work; of a killed one -9."""
        database = connections.settings["default"]["NAME"]
        order = {"work": work, "failpoint": failpoint, "database": database}
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(order | {"arguments": arguments}, default=str), file=stdin, flush=True)
        return int(stdout.readline())


@contextmanager
def some_victims() -> Iterator[Victims]:
    """Processes on the stores, keys and addresses of this one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.victims"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Victims(process)
    finally:
        process.communicate(timeout=10)


def _reserve(call: dict[str, Any], *, is_joined: bool = False) -> None:
    from django.db import transaction

    from billing.services import holds
    from ideplatform.kit import failpoints

    if is_joined:
        with transaction.atomic():
            holds.reserve(_call(call))
            failpoints.hit("before_commit")
    holds.reserve(_call(call))


def _dispatch(hold_id: str) -> None:
    from billing.services import holds

    holds.dispatch_many([UUID(hold_id)], lease_s=60)


def _extend(hold_id: str, amount: str) -> None:
    from billing.services import holds
    from tests.billing.calls import usd

    holds.extend(hold_id=UUID(hold_id), amount_usd=usd(amount))


def _settle(call: dict[str, Any]) -> None:
    from billing.services import usage
    from tests.billing.funds import the_call

    usage.settle(the_call(_call(call)))


def _void(hold_id: str) -> None:
    from billing.services import holds

    holds.void_many([UUID(hold_id)])


def _sweep() -> None:
    from billing.services import holds

    holds.sweep()


def _apply(event_id: str) -> None:
    from billing.stripe import inbox

    inbox.apply(event_id)


def _recharge() -> None:
    from billing.stripe import recharges

    recharges.run()


WORKS: dict[str, Callable[..., None]] = {
    "reserve": _reserve,
    "dispatch": _dispatch,
    "extend": _extend,
    "settle": _settle,
    "void": _void,
    "sweep": _sweep,
    "apply": _apply,
    "recharge": _recharge,
}


def _call(facts: dict[str, Any]) -> Any:
    """The reservation that a test describes by its ids and amount."""
    from accounts.models import Organization
    from tests.billing.funds import a_reservation

    team = Organization.objects.get(pk=facts["organization"])
    names = {name: UUID(facts[name]) for name in ("hold_id", "request_id")}
    return a_reservation(team, facts["amount"], **names)


def _serve() -> None:
    for line in sys.stdin:
        sys.stdout.write(f"{_forked(json.loads(line))}\n")
        sys.stdout.flush()


def _forked(order: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(_worked(order))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _worked(order: dict[str, Any]) -> int:
    """Do the work in this process, whose connections are its own; 1 when it failed."""
    from ideplatform.kit import failpoints
    from tests import databases

    try:
        databases._use(order["database"])
        with failpoints.armed(order["failpoint"]):
            WORKS[order["work"]](**order["arguments"])
    except Exception:  # noqa: BLE001  (whatever it is, the exit code says so)
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    import django

    django.setup()
    _serve()
