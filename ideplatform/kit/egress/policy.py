"""What `EGRESS_ALLOW` opens beside the public Internet.

Entries are `host:port`, `address:port` or `CIDR:port` (IPv6 in brackets). They open private
addresses such as a local Ollama; metadata and link-local addresses stay closed whatever they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network

from django.conf import settings

from ideplatform.kit.egress import addresses, urls
from ideplatform.kit.egress.addresses import Address, Network


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """The openings of one process; immutable, so a decision about it can be remembered."""

    names: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[tuple[Network, int], ...] = field(default=())

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Policy:
        """Raises ValueError naming the first entry that is not of the form above."""
        names: set[tuple[str, int]] = set()
        networks: list[tuple[Network, int]] = []
        for entry in entries:
            host, port = _split(entry)
            network = _network(host)
            if network is None:
                names.add((_name(entry, host), port))
            else:
                networks.append((network, port))
        return cls(frozenset(names), tuple(networks))

    def with_entries(self, entries: Iterable[str]) -> Policy:
        """This policy and more openings."""
        more = Policy.parse(entries)
        return Policy(self.names | more.names, self.networks + more.networks)

    def allows(self, address: Address, *, host: str, port: int) -> bool:
        """Whether `host`, which is or resolved to `address`, may be dialled on `port`."""
        if addresses.is_never_allowed(address):
            return False
        if addresses.is_public(address) or (host, port) in self.names:
            return True
        dialled = addresses.canonical(address)
        return any(
            port == opened and dialled.version == network.version and dialled in network
            for network, opened in self.networks
        )


_current: Policy | None = None


def current() -> Policy:
    """The policy of this process: `EGRESS_ALLOW`, read once, and what `opened` adds."""
    global _current
    if _current is None:
        _current = Policy.parse(settings.ENV.egress_allow)
    return _current


@contextmanager
def opened(*entries: str) -> Iterator[None]:
    """Open further `host:port` entries in this process while the block runs.

    For programs that start a local server themselves, such as the test suite.
    """
    global _current
    before = current()
    _current = before.with_entries(entries)
    try:
        yield
    finally:
        _current = before


def _split(entry: str) -> tuple[str, int]:
    host, colon, port = entry.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ValueError(f"EGRESS_ALLOW: {entry!r} is not host:port or CIDR:port")
    return host.removeprefix("[").replace("]", ""), int(port)


def _network(host: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(host)
    except ValueError:
        return None


def _name(entry: str, host: str) -> str:
    try:
        name, literal = urls.read_host(host)
    except urls.UrlRefused:
        literal, name = None, ""
    if not name or literal is not None or "/" in host:
        raise ValueError(f"EGRESS_ALLOW: {entry!r} is not host:port or CIDR:port")
    return name
