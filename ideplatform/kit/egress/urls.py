"""Outbound URLs, parsed once and strictly: what is checked is what is dialled.

Two parsers that disagree on where a host ends are a hole (`http://127.0.0.1:6379\\@example.com/`),
so anything that two parsers could read differently is refused, and yarl's reading must equal ours.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

from yarl import URL

from ideplatform.kit.egress.addresses import Address
from ideplatform.kit.errors import InvalidInput, Pointer

MAX_LENGTH = 4_096
_SHAPE: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<rest>[/?][^\s\\\x00-\x20\x7f#]*)?",
    re.IGNORECASE | re.ASCII,
)
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff]")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class UrlRefused(InvalidInput):
    code, title = "url_refused", "This address has a form that is not accepted"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """A parsed URL and where it leads; `literal` is set when the host is an address.

    Compared by identity, so that a decision about it can be remembered cheaply.
    """

    url: URL
    host: str
    port: int
    literal: Address | None


@functools.lru_cache(maxsize=2_048)
def parse(text: str) -> Target:
    """The target of an http(s) URL.

    Accepts a lower-ASCII name (`xn--` for others), a canonical IPv4 or bracketed IPv6 address, a
    port from 1 to 65535, a path and a query. Raises UrlRefused for every other form: other
    schemes, user information, fragments, backslashes, control characters, percent signs or
    non-ASCII in the host, numbers that some resolvers read as addresses (`127.1`, `2130706433`,
    `0x7f.1`, `0177.0.0.1`, `0`), zone ids.
    """
    shape = None if len(text) > MAX_LENGTH or _CONTROL.search(text) else _SHAPE.fullmatch(text)
    if shape is None:
        raise _refused("give an absolute http or https URL without user information or fragment")
    host, literal = _host(shape["host"].lower())
    port = int(shape["port"] or _DEFAULT_PORTS[shape["scheme"].lower()])
    url = _read(text)
    if port > 65_535 or url.port != port or not _names(url, host, literal) or url.raw_user:
        raise _refused("the host and port of the URL are not clear")
    return Target(url=url, host=host, port=port, literal=literal)


def read_host(text: str) -> tuple[str, Address | None]:
    """A host as an allow-list writes it, checked like the host of a URL."""
    return _host(text.lower())


def _read(text: str) -> URL:
    try:
        return URL(text)
    except ValueError:
        raise _refused("the URL cannot be read") from None


def _names(url: URL, host: str, literal: Address | None) -> bool:
    read = url.raw_host or ""
    return read == host if literal is None else ip_address(read) == literal


def _host(host: str) -> tuple[str, Address | None]:
    if host.startswith("["):
        address = _ipv6(host[1:-1])
        return str(address), address
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        return host, _ipv4(host)
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("the host is not a plain name; write other scripts in their xn-- form")
    return host, None


def _ipv4(host: str) -> IPv4Address:
    try:
        return IPv4Address(host)
    except AddressValueError:
        raise _refused("write an IPv4 address as four decimal numbers") from None


def _ipv6(host: str) -> IPv6Address:
    try:
        return IPv6Address(host)
    except AddressValueError:
        raise _refused("the IPv6 address is not valid") from None


def _refused(detail: str) -> UrlRefused:
    return UrlRefused(detail, errors=[Pointer(pointer="", detail=detail)])
