"""What ``manage.py up`` can be told."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ideplatform.embedded.children import LONGEST_DELAY_S, MAX_DEATHS

DEFAULT_DATA_DIR = ".ide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The flags of ``manage.py up``."""

    host: str
    port: int
    data_dir: Path
    web: int
    agents: int
    simulate: bool
    seed: bool
    ephemeral: bool
    json_logs: bool
    max_deaths: int
    longest_restart_s: float

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the platform."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def add_arguments(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Declare the flags; ``environment`` gives some of the defaults."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    add(
        "--data-dir",
        type=Path,
        default=Path(environment.get("DATA_DIR", DEFAULT_DATA_DIR)),
        help="stores, logs and secrets (default %(default)s)",
    )
    add(
        "--web",
        type=_at_least_one,
        default=int(environment.get("WEB_PROCESSES", "1")),
        help="web processes (default %(default)s)",
    )
    add("--agents", type=_at_least_one, default=1, help="agent workers (default %(default)s)")
    add(
        "--simulate",
        action=argparse.BooleanOptionalAction,
        default=not _has_provider_key(environment),
        help="run the simulated provider (default: while no provider key is in the environment)",
    )
    add("--no-seed", dest="seed", action="store_false", help="make no demo organization")
    add("--ephemeral", action="store_true", help="a new data directory, removed at the end")
    add("--json-logs", action="store_true", help="one JSON object a line")
    add(
        "--max-deaths",
        type=_at_least_one,
        default=MAX_DEATHS,
        help="deaths of one process in 60 s that end the platform (default %(default)s)",
    )
    add(
        "--longest-restart-s",
        type=float,
        default=LONGEST_DELAY_S,
        help="longest pause before a dead process starts again (default %(default)s)",
    )


def read(values: argparse.Namespace | Mapping[str, object]) -> Options:
    """Options from parsed arguments, whatever else stands among them."""
    found = vars(values) if isinstance(values, argparse.Namespace) else values
    return Options(**{name: found[name] for name in Options.__slots__})  # type: ignore[arg-type]


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="manage.py up", description="Run the whole platform on this machine."
    )
    add_arguments(parser, os.environ)
    return read(parser.parse_args(arguments))


PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")


def _has_provider_key(environment: Mapping[str, str]) -> bool:
    is_live = environment.get("ENVIRONMENT") == "production"
    return is_live or any(environment.get(name) for name in PROVIDER_KEYS)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
