"""Loopback ports for the embedded parts."""

import json
import random
import socket
from pathlib import Path

from ideplatform.embedded import private_files
from ideplatform.embedded.errors import EmbeddedError

# Below the kernel's range for outgoing connections (32768-60999 on Linux). A client
# that redials a dead server inside that range can be given the server's own port as
# its source port, connect to itself, and keep the server from ever binding again.
FIRST_PORT = 20_000
LAST_PORT = 32_000


class PortTaken(EmbeddedError):
    """Somebody else listens on the address that was asked for."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is already in use; choose another with --port")
        self.host = host
        self.port = port


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on ``host:port`` at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that no server holds and no outgoing connection can take."""
    for port in random.sample(range(FIRST_PORT, LAST_PORT), k=200):
        if is_free(port):
            return port
    raise OSError(f"no free loopback port between {FIRST_PORT} and {LAST_PORT}")


def listen(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """Bind and listen, or raise PortTaken naming the address.

    The supervisor holds this socket and hands it to every web process, so that a
    connection made while one of them restarts waits instead of being refused.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise PortTaken(host, port) from error
    listener.setblocking(False)
    return listener


class PortBook:
    """The loopback ports of one data directory: the same ones at every start if they are free.

    What a row or a bookmark says about a port (the simulated provider's base URL, a database
    tool) then stays true after a restart.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: dict[str, int] = {}

    def port(self, name: str) -> int:
        """The port of the part ``name``, remembered or new; the same one for one book."""
        if name in self._taken:
            return self._taken[name]
        known = self._load()
        port = known.get(name)
        if port is None or port in self._taken.values() or not is_free(port):
            port = free_port()
            private_files.write(self._path, json.dumps({**known, name: port}, indent=1) + "\n")
        self._taken[name] = port
        return port

    def _load(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): int(port) for name, port in found.items()}
