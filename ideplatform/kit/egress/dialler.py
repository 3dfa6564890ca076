"""The connector: every address is checked where it is dialled, and what was checked is dialled.

Two gates ask the same policy. The resolver refuses a name when any of its answers is closed; the
socket factory, which aiohttp calls for every connection, literal addresses included, decides
about the very address that the kernel will get.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ideplatform.kit.egress import policy
from ideplatform.kit.egress.addresses import Address

# Bounds of one event loop; a call beyond them waits within its connect deadline.
MAX_CONNECTIONS = 2_048
KEEPALIVE_S = 15
# Own threads: hostile names with slow servers must not stop the loop's other executor work.
_DNS_THREADS = 16

Lookup = Callable[..., Sequence[tuple[Any, ...]]]

# The name that the current call is about; a socket itself only knows its address.
host_of_call: ContextVar[str] = ContextVar("egress_host")


class Blocked(OSError):
    """An address that policy does not open. Looks to aiohttp like any failed connection."""


class CheckedResolver(AbstractResolver):
    """Asks `lookup` once per connection and refuses a name with any closed answer."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = functools.partial(self._lookup, host, port, family=family, type=socket.SOCK_STREAM)
        answers = await asyncio.get_running_loop().run_in_executor(_dns_pool(), ask)
        return [_checked(str(answer[4][0]), host=host, port=port) for answer in answers]

    async def close(self) -> None:
        """Nothing is held: the threads are the process's."""


def connector(lookup: Lookup = socket.getaddrinfo) -> aiohttp.TCPConnector:
    """A connector for the running loop; `lookup` answers as `socket.getaddrinfo` does."""
    return aiohttp.TCPConnector(
        resolver=CheckedResolver(lookup),
        use_dns_cache=False,
        socket_factory=_open_socket,
        ssl=_tls(os.environ.get("SSL_CERT_FILE", "")),
        limit=MAX_CONNECTIONS,
        keepalive_timeout=KEEPALIVE_S,
    )


def _checked(text: str, *, host: str, port: int) -> ResolveResult:
    address = _address(text)
    if not policy.current().allows(address, host=host, port=port):
        raise Blocked("the name leads to a closed address")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return ResolveResult(
        hostname=host, host=text, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
    )


def _open_socket(info: Sequence[Any]) -> socket.socket:
    family, kind, protocol, _, (text, port, *_) = info
    host = host_of_call.get("")
    if not policy.current().allows(_address(text), host=host, port=port):
        raise Blocked("the address is closed")
    return socket.socket(family, kind, protocol)


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Blocked("not a plain address") from None


@functools.cache
def _dns_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_DNS_THREADS, thread_name_prefix="egress-dns")


@functools.cache
def _tls(_trust_file: str) -> ssl.SSLContext:
    """Verified TLS. OpenSSL reads `SSL_CERT_FILE` itself; here it only keys the cache."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
