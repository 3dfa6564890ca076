"""Probes: `/health` asks no store, `/ready` asks what is registered here.

A part registers a probe by name; required probes turn readiness to 503, others only report.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Probe = Callable[[], Awaitable[None]]
PROBE_TIMEOUT_S = 0.5
STALL_S = 5.0

_required: dict[str, Probe] = {}
_reported: dict[str, Probe] = {}
_moved: dict[str, tuple[float, float]] = {}
_draining = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The names of probes that failed: required ones stop traffic, reported ones do not."""

    failing: tuple[str, ...]
    degraded: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        return not self.failing


def register(name: str, probe: Probe, *, required: bool) -> None:
    """Ask `probe` at every `/ready`; it raises when its part is not usable."""
    (_required if required else _reported)[name] = probe


def start_draining() -> None:
    """From now on `/ready` is 503: traffic goes elsewhere before the listeners close."""
    global _draining
    _draining = True


def is_draining() -> bool:
    return _draining


def moved(loop_name: str, *, within_s: float = STALL_S) -> None:
    """A loop turned; `/health` fails when it does not turn again within `within_s`."""
    _moved[loop_name] = (time.monotonic(), within_s)


def forget(loop_name: str) -> None:
    """The loop ended in order: it need not turn any more."""
    _moved.pop(loop_name, None)


def stalled() -> list[str]:
    """The loops of this process that should have turned and did not."""
    now = time.monotonic()
    return [name for name, (at, within_s) in _moved.items() if now - at > within_s]


async def readiness() -> Readiness:
    """Ask every probe at once, each within 500 ms."""
    failing, degraded = await asyncio.gather(_failing(_required), _failing(_reported))
    if _draining:
        failing = ("draining", *failing)
    return Readiness(failing=failing, degraded=degraded)


async def _failing(probes: dict[str, Probe]) -> tuple[str, ...]:
    answers = await asyncio.gather(*(_answers(probe) for probe in probes.values()))
    return tuple(name for name, ok in zip(probes, answers, strict=True) if not ok)


async def _answers(probe: Probe) -> bool:
    try:
        await asyncio.wait_for(probe(), PROBE_TIMEOUT_S)
    except Exception:  # noqa: BLE001  whatever the reason, the part is not usable
        return False
    return True
