"""The simulated provider as a process of its own, and a handle to script and question it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).resolve().parents[2]
PRICES = tuple(
    ROOT / "billing" / "data" / name
    for name in ("model_prices_openai_anthropic_gemini.json", "simulator_prices.json")
)
_READY_S = 20
_STOP_S = 10
_READY_WORDS = "simulated provider ready at "


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorHandle:
    """A running simulator. Its requests and ledger rows are plain JSON objects."""

    url: str
    process: subprocess.Popen[str]

    def script(self, script_id: str, *turns: dict[str, Any], by: str = "conversation") -> str:
        """Post a script; returns its id, for a key suffix, a header or a directive."""
        self.call("POST", "/__scripts", {"id": script_id, "turns": list(turns), "by": by})
        return script_id

    def ledger(self, *, after: int = 0, request_id: str | None = None) -> list[dict[str, Any]]:
        """What a vendor would charge: one row per dispatched call, in order."""
        query = {"after": after} | ({"request_id": request_id} if request_id else {})
        rows: list[dict[str, Any]] = self.call("GET", f"/__ledger?{urlencode(query)}")["rows"]
        return rows

    def requests(self, *, after: int = 0) -> list[dict[str, Any]]:
        """The recorded requests, without secrets."""
        found: list[dict[str, Any]] = self.call("GET", f"/__requests?after={after}")["requests"]
        return found

    def bodies(self) -> list[str]:
        """The bodies of the recorded requests as they came, in order."""
        found = self.call("GET", "/__requests?raw=1")["requests"]
        return [request["body"] for request in found]

    def reset(self) -> None:
        """Forget scripts, counters, ledger and requests."""
        self.call("POST", "/__reset")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to a control endpoint; raises on anything but success."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Authorization": "Bearer control-key"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise AssertionError(f"{method} {path}: {response.status} {answer[:500]!r}")
        return json.loads(answer)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(_STOP_S)


@contextmanager
def running_simulator(
    *,
    port: int = 0,
    ledger_file: Path | None = None,
    prices: Sequence[Path] = PRICES,
) -> Iterator[SimulatorHandle]:
    """Run it on a free port (or the given one) until the block ends; suits a session fixture."""
    command = [sys.executable, "-m", "providers.simulator", "--port", str(port)]
    command.append("--ends-with-stdin")
    command += [word for path in prices for word in ("--prices-file", str(path))]
    if ledger_file:
        command += ["--ledger-file", str(ledger_file)]
    environment = {name: value for name, value in os.environ.items() if name != "ENVIRONMENT"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield SimulatorHandle(url=_address(process), process=process)
    finally:
        _end(process)


def _address(process: subprocess.Popen[str]) -> str:
    """The address of the ready line; a program that never says it is ended by the timer."""
    assert process.stdout is not None
    timer = threading.Timer(_READY_S, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    assert line.startswith(_READY_WORDS), f"the simulator did not start: {line!r}"
    return line.removeprefix(_READY_WORDS).strip()


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_S)
    if process.stdout:
        process.stdout.close()
