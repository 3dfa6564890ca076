"""Runs a client as its section of the guide says, against a whole platform."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ideplatform.management.client import Client
from tests.clients import guide, installed, recordings
from tests.clients.recorder import Exchange, Recorder, recording
from tests.faults.platform import Platform, simulator_get
from tests.waiting import eventually

VENDORS = ("openai", "anthropic", "google", "openai_compatible")
RECORDED_FOR = "openai_compatible"
WITHIN_S = 150
_SETTLED_S = 20
_COUNTED = ("input", "cache_read", "output", "output_reasoning")


@dataclass(slots=True)
class Site:
    """A platform with an account of each type, a key for a client, and a recorder before it."""

    platform: Platform
    recorder: Recorder
    key: str
    providers: dict[str, str] = field(default_factory=dict)

    def model(self, vendor: str) -> str:
        return f"{_slug(vendor)}/sim-coder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a client printed, and what it asked of the gateway."""

    output: str
    exchanges: list[Exchange]

    def of(self, path: str) -> list[Exchange]:
        return [one for one in self.exchanges if one.target.partition("?")[0] == path]


@contextmanager
def furnished(platform: Platform) -> Iterator[Site]:
    """The platform made ready for clients."""
    with recording(platform.url) as recorder:
        site = Site(platform=platform, recorder=recorder, key="")
        asyncio.run(_furnish(site))
        yield site


async def _furnish(site: Site) -> None:
    simulator = site.platform.environment["SIMULATED_PROVIDER_URL"]
    async with Client(site.platform.url) as client:
        await client.sign_in(**site.platform.user)
        made = await client.call(
            "POST", "/auth/api-keys", {"name": "clients", "scopes": ["gateway:call"]}
        )
        site.key = made["key"]
        for vendor in VENDORS:
            is_openai = vendor.startswith("openai")
            account = await client.call(
                "POST",
                "/providers",
                {
                    "name": f"Clients, {vendor}",
                    "slug": _slug(vendor),
                    "type": vendor,
                    "scope": "platform",
                    "billing_mode": "platform",
                    "api_key": f"sk-clients-{vendor}",
                    "config": {"base_url": simulator + ("/v1" if is_openai else "")},
                    "models": ["sim-coder", "sim-echo", "sim-embed"],
                },
            )
            site.providers[vendor] = account["id"]


def writes_a_file(site: Site, client: str, *, vendor: str, place: Path) -> Done:
    """Run the client's section: it wrote the file, and every call was billed as the vendor has it.

    The requests of one vendor are kept as recordings.
    """
    home, project = place / "home", place / "project"
    setup = guide.setup(client, address=site.recorder.url, key=site.key, model=site.model(vendor))
    for name, text in setup.files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, "utf-8")
    home.mkdir(exist_ok=True)
    project.mkdir()
    _, first = _vendor_rows(site.platform, after=0)
    before, billed = len(site.recorder.exchanges), _billed(site, vendor)
    output = _run(setup.script, home=home, project=project)
    done = Done(output=output, exchanges=site.recorder.exchanges[before:])
    written = project / guide.FILE
    assert written.exists(), f"{output}\n{[(o.target, o.status) for o in done.exchanges]}"
    assert written.read_bytes() == guide.TEXT.encode()
    assert {one.status for one in done.exchanges} <= {200}
    _books_agree(site, vendor, after=first, billed=billed)
    if vendor == RECORDED_FOR:
        kept = place.resolve()
        recordings.write(client, done.exchanges, model=site.model(vendor), place=kept)
    return done


def _run(script: str, *, home: Path, project: Path) -> str:
    """What a script printed; fails with it when the script does. Nothing of it lives on."""
    environment = {
        "PATH": installed.path(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    try:
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=WITHIN_S,
            check=False,
        )
    finally:
        _end_the_rest(home)
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, output[-4_000:]
    return output


def _end_the_rest(home: Path) -> None:
    """End what a client left running: processes that live in the home made for it."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("HOME") == str(home):
                process.kill()


def _books_agree(site: Site, vendor: str, *, after: int, billed: int) -> None:
    """One usage event for each call that the vendor charges, equal in every figure."""
    charged, _ = _vendor_rows(site.platform, after=after)
    wanted = sorted(_charge(row) for row in charged)
    names = [name for name, *_ in wanted]
    assert wanted
    eventually(lambda: len(_settled(site, vendor, names)) >= len(wanted), within_s=_SETTLED_S)
    assert sorted(_settled(site, vendor, names)) == wanted
    assert _billed(site, vendor) == billed + len(wanted)


def _vendor_rows(platform: Platform, *, after: int) -> tuple[list[dict[str, Any]], int]:
    """Calls in the vendor's ledger that it charges, and the number of the last one."""
    rows = asyncio.run(simulator_get(platform, f"/__ledger?after={after}"))["rows"]
    charged = [
        row
        for row in rows
        if row["outcome"] not in ("open", "refused") and row["operation"] != "count_tokens"
    ]
    return charged, rows[-1]["seq"] if rows else after


def _charge(row: dict[str, Any]) -> tuple[str, int, int, int]:
    tokens = row["tokens"]
    counted = {name: tokens.get(name, 0) for name in _COUNTED}
    return (
        row["provider_request_id"],
        counted["input"],
        counted["cache_read"],
        counted["output"] + counted["output_reasoning"],
    )


def _settled(site: Site, vendor: str, names: list[str]) -> list[tuple[Any, ...]]:
    return site.platform.rows(
        "SELECT provider_request_id, tokens_input, tokens_cache_read, "
        "tokens_output FROM usage_events "
        "WHERE provider_id = %s AND provider_request_id = ANY(%s)",
        site.providers[vendor],
        names,
    )


def _billed(site: Site, vendor: str) -> int:
    """How many calls were billed for this account so far."""
    ((count,),) = site.platform.rows(
        "SELECT count(*) FROM usage_events WHERE provider_id = %s", site.providers[vendor]
    )
    return int(count)


def _slug(vendor: str) -> str:
    return f"clients-{vendor.replace('_', '-')}"
