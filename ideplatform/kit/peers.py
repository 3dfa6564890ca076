"""Who is on the other end: the client's address behind the proxies we trust, and no others."""

from __future__ import annotations

import ipaddress

from django.conf import settings


def ip(remote: str, forwarded_for: str = "") -> str:
    """The client's address: the socket's peer, or what the outermost trusted proxy saw.

    `X-Forwarded-For` grows on the right, so with TRUSTED_PROXY_COUNT = n the n-th entry from the
    right is the last one that a trusted proxy wrote; everything left of it is the client's claim.
    Text that is no address is answered with the peer.
    """
    trusted: int = settings.ENV.trusted_proxy_count
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    if trusted and len(hops) >= trusted:
        return _address(hops[-trusted]) or _address(remote)
    return _address(remote)


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
