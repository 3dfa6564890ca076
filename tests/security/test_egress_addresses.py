"""Which URLs and addresses egress accepts: every spelling of a closed address stays closed."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideplatform.kit.egress import Policy, UrlRefused, addresses, parse

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1"]
CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::a9fe:a9fe",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "0.0.0.0",
    "::",
]
EVERYTHING = ["0.0.0.0/0:80", "[::]/0:80"]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_open(text):
    assert Policy().allows(ip_address(text), host=text, port=443)


@pytest.mark.parametrize("text", CLOSED)
def test_special_addresses_are_closed(text):
    assert not Policy().allows(ip_address(text), host=text, port=80)


@pytest.mark.parametrize("text", METADATA)
def test_no_setting_opens_metadata_or_this_host(text):
    policy = Policy.parse([*EVERYTHING, "metadata.google.internal:80"])
    for host in (text, "metadata.google.internal"):
        assert not policy.allows(ip_address(text), host=host, port=80)


def _wrapped(address: IPv4Address) -> list[IPv6Address]:
    number = int(address)
    return [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0xFFFF << 48 | number),
        IPv6Address(number),
        IPv6Address(0x0064FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(0x2001 << 112 | (~number & 0xFFFFFFFF)),
    ]


@given(st.sampled_from([a for a in CLOSED if "." in a and ":" not in a]))
def test_no_wrapping_opens_a_closed_address(text):
    for wrapped in _wrapped(IPv4Address(text)):
        assert not Policy().allows(wrapped, host=str(wrapped), port=80)


@given(st.integers(0, 2**128 - 1))
def test_open_ipv6_is_global_unicast_and_embeds_nothing_closed(number):
    address = IPv6Address(number)
    if Policy().allows(address, host="x", port=80):
        assert number >> 125 == 0b001
        assert addresses.forms(address) == (address,)


# EGRESS_ALLOW


def test_an_entry_opens_its_port_alone():
    policy = Policy.parse(["10.1.0.0/16:11434", "127.0.0.1:8080", "[fd12::/16]:9000", "box:1"])
    opened = [
        ("10.1.2.3", 11434, True),
        ("10.1.2.3", 80, False),
        ("10.2.0.1", 11434, False),
        ("127.0.0.1", 8080, True),
        ("127.0.0.2", 8080, False),
        ("::ffff:127.0.0.1", 8080, True),
        ("fd12::5", 9000, True),
        ("fd13::5", 9000, False),
    ]
    assert opened == [
        (text, port, policy.allows(ip_address(text), host="other", port=port))
        for text, port, _ in opened
    ]
    assert policy.allows(ip_address("192.168.9.9"), host="box", port=1)
    assert not policy.allows(ip_address("192.168.9.9"), host="box", port=2)


@pytest.mark.parametrize(
    "entry", ["", "host", "host:", "host:0", "host:65536", "host:x", "10.0.0.1/8:80", "*:80",
              "127.1:80", "http://host:80", "ho st:80", "1.2.3.4/33:80"],
)  # fmt: skip
def test_a_malformed_entry_is_named(entry):
    with pytest.raises(ValueError, match="EGRESS_ALLOW"):
        Policy.parse([entry])


# URLs

REFUSED = [
    "",
    "example.com",
    "//example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "javascript:alert(1)",
    "http:/example.com",
    "http:///example.com",
    "http://",
    "http://:80/",
    "http://user@example.com/",
    "http://user:pass@example.com/",
    "http://@example.com/",
    "http://127.0.0.1:6379\\@example.com/",
    "http://example.com\\.evil.test/",
    "http://example.com/\\..",
    "http://example.com/#@127.0.0.1/",
    "http://example.com#fragment",
    "http://exa mple.com/",
    " http://example.com/",
    "http://example.com/ ",
    "http://example.com/\r\nHost: evil",
    "http://example.com/\n",
    "http://exam\tple.com/",
    "http://example.com\x00.evil.test/",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\u2028",
    "http://example.com/\ud800",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0X7F.0.0.1/",
    "http://127.0.0.0x1/",
    "http://0177.0.0.1/",
    "http://127.0.0.01/",
    "http://0/",
    "http://0x/",
    "http://1.2.3.4.5/",
    "http://256.0.0.1/",
    "http://example.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://ⓔxample.com/",
    "http://exämple.com/",
    "http://example。com/",
    "http://%31%32%37.0.0.1/",
    "http://example%2ecom/",
    "http://[::1/",
    "http://::1/",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[127.0.0.1]/",
    "http://[v1.x]/",
    "http://[]/",
    "http://example.com:/",
    "http://example.com:0/",
    "http://example.com:00080/",
    "http://example.com:65536/",
    "http://example.com:99999999/",
    "http://example.com:8o/",
    "http://example.com:+80/",
    "http://example.com:80:80/",
    "http://example.com./",
    "http://.example.com/",
    "http://example..com/",
    "http://-example.com/",
    "http://example-.com/",
    "http://" + "a" * 64 + ".com/",
    "http://example.com/" + "a" * 4_096,
]


@pytest.mark.parametrize("text", REFUSED)
def test_odd_urls_are_refused(text):
    with pytest.raises(UrlRefused):
        parse(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://example.com", "example.com", 80, "/"),
        ("https://EXAMPLE.com/v1", "example.com", 443, "/v1"),
        ("HTTPS://api.example.com:8443/a%2Fb?x=%20y", "api.example.com", 8443, "/a%2Fb?x=+y"),
        ("http://xn--exmple-cua.com/?q=1", "xn--exmple-cua.com", 80, "/?q=1"),
        ("http://my_box:11434/api", "my_box", 11434, "/api"),
        ("http://8.8.8.8/", "8.8.8.8", 80, "/"),
        ("http://[2606:4700::1111]:81/", "2606:4700::1111", 81, "/"),
        ("http://example.com/ação", "example.com", 80, "/a%C3%A7%C3%A3o"),
    ],
)
def test_ordinary_urls_are_read(text, host, port, target):
    parsed = parse(text)
    assert (parsed.host, parsed.port) == (host, port)
    assert parsed.url.raw_path_qs.replace("%20", "+") == target


SPELLINGS = st.tuples(
    st.sampled_from(["http://", "https://", "HTTP://", "http:", "http:\\\\", "//", "ws://"]),
    st.sampled_from(["", "a@", "a:b@", "@", "example.com@", "example.com#@", "x\\@", "%40"]),
    st.sampled_from(
        ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "017700000001", "[::1]", "localhost",
         "[::ffff:7f00:1]", "①②⑦.0.0.1", "0", "[::]", "169.254.169.254", "127.0.0.1.",
         "[0:0:0:0:0:ffff:127.0.0.1]", "%6c%6f%63alhost", "127。0。0。1", "[64:ff9b::7f00:1]"]
    ),
    st.sampled_from(["", ":80", ":0", ":080", ":6379", ":", ":80@example.com", "\\@example.com"]),
    st.sampled_from(["", "/", "/x?y", "?x", "#", "/#@8.8.8.8/", "\\", "/\r\n", "/%00", ";.test"]),
)  # fmt: skip


def _reach(text: str) -> str:
    try:
        target = parse(text)
    except UrlRefused:
        return "refused"
    if target.literal is None:
        return target.host
    allowed = Policy().allows(target.literal, host=target.host, port=target.port)
    return "open" if allowed else "closed"


@given(SPELLINGS.map("".join))
def test_no_spelling_of_a_closed_address_is_open(text):
    # A name goes on to the resolver, which checks its answers; "localhost" is the only one here.
    assert _reach(text) in {"refused", "closed", "localhost"}


@given(st.text(max_size=60).map(lambda tail: "http://" + tail))
def test_any_text_is_read_or_refused_and_nothing_else(text):
    assert _reach(text)
