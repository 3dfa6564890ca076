"""Whose address counts behind proxies."""

from __future__ import annotations

import pytest

from ideplatform.kit import peers


@pytest.mark.parametrize(
    ("proxies", "remote", "forwarded", "ip"),
    [
        (0, "192.0.2.1", "", "192.0.2.1"),
        (0, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (1, "10.0.0.1", "198.51.100.7", "198.51.100.7"),
        (1, "10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "10.0.0.1", "203.0.113.9, 198.51.100.7", "203.0.113.9"),
        (2, "10.0.0.1", "198.51.100.7", "10.0.0.1"),
        (1, "10.0.0.1", "not an address", "10.0.0.1"),
        (1, "10.0.0.1", "", "10.0.0.1"),
        (0, "::ffff:192.0.2.1", "", "192.0.2.1"),
        (0, "2001:db8::1", "", "2001:db8::1"),
        (0, "", "", ""),
        (0, "unix:", "", ""),
    ],
)
def test_only_what_a_trusted_proxy_wrote_is_believed(settings, proxies, remote, forwarded, ip):
    settings.ENV = settings.ENV.model_copy(update={"trusted_proxy_count": proxies})
    assert peers.ip(remote, forwarded) == ip
