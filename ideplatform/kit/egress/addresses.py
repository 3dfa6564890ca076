"""Which addresses the platform may dial: our own table, decided here and nowhere else.

`ipaddress.is_private` changes with the Python version and passes 100.64.0.0/10, 64:ff9b::/96 and
multicast, so it is not asked. Source: IANA IPv4 and IPv6 Special-Purpose Address Registries.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Instance metadata of the clouds, and link-local as a whole: no setting opens these.
_NEVER_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # AWS, GCP, Azure, OpenStack, ECS, EKS
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure wire server
        "192.0.0.192/32",  # Oracle
        "224.0.0.0/4",
        "255.255.255.255/32",
    )
)
_NEVER_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "::/128",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::/32",  # GCP
        "fe80::/10",
        "ff00::/8",
    )
)
_SPECIAL_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# Prefixes whose last, or middle, 32 bits are an IPv4 address that a gateway would dial.
_SIXTOFOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")
_EMBEDDING_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/96",
    )
)


def is_never_allowed(address: Address) -> bool:
    """Metadata, link-local, multicast and "this host", in any wrapping: not even by setting."""
    return any(_is_listed(form, _NEVER_V4, _NEVER_V6) for form in forms(address))


def is_public(address: Address) -> bool:
    """Whether an address is an ordinary one of the public Internet, in all its wrappings."""
    return all(_is_global(form) for form in forms(address)) and not is_never_allowed(address)


def forms(address: Address) -> tuple[Address, ...]:
    """The address and the IPv4 address that it embeds, if any."""
    if isinstance(address, IPv4Address):
        return (address,)
    embedded = _embedded(address)
    return (address,) if embedded is None else (address, embedded)


def canonical(address: Address) -> Address:
    """What the kernel dials: an IPv4-mapped address is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _SIXTOFOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        return IPv4Address(~int(address) & 0xFFFFFFFF)
    if any(address in network for network in _EMBEDDING_V6) and int(address) >> 1:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _is_global(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        return False
    return not _is_listed(address, _SPECIAL_V4, _SPECIAL_V6)


def _is_listed(
    address: Address,
    networks_v4: tuple[IPv4Network, ...],
    networks_v6: tuple[IPv6Network, ...],
) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in networks_v4)
    return any(address in network for network in networks_v6)
