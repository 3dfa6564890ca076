"""Ten thousand spellings of closed addresses, called for real: the canary hears nothing."""

from __future__ import annotations

import random

from ideplatform.kit import egress
from tests.kit import wire

SCHEMES = [*["http://"] * 9, "HTTP://", "http:/", "http:\\\\", "//", "http://\t", "https://"]
USERS = [*[""] * 14, "a@", "a:b@", "@", "8.8.8.8@", "8.8.8.8#@", "8.8.8.8\\@", "8.8.8.8%40"]
HOSTS = [
    "127.0.0.1",
    "127.0.0.2",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]",
    "[::1%25lo]",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "loc\u00adalhost",
    "\uff4cocalhost",
]
PORTS = ["", ":{port}", ":{port}", ":{port}", ":0{port}", ":{port}@8.8.8.8", ":{port}\\@8.8.8.8"]
TAILS = [
    *["", "/"] * 4,
    "/x?y=1",
    "?x",
    "#",
    "#@8.8.8.8/",
    "/#@8.8.8.8/",
    "\\",
    "/\r\nX: y",
    ";.test/",
]
QUICK = egress.Timeouts(connect_s=2, first_byte_s=2, idle_s=2, total_s=5)
COUNT = 10_000


def _spellings(port: int) -> list[str]:
    choose = random.Random(20_260_101).choice
    parts = (SCHEMES, USERS, HOSTS, PORTS, TAILS)
    return ["".join(map(choose, parts)).replace("{port}", str(port)) for _ in range(COUNT)]


async def _outcome(url: str) -> str:
    try:
        async with egress.request("GET", url, timeouts=QUICK) as response:
            return str(response.status)
    except egress.UrlRefused:
        return "refused"
    except egress.NotReachable:
        return "not_reachable"


async def test_no_spelling_reaches_a_closed_server_and_the_opened_one_works():
    async with wire.http(wire.ok) as canary:
        outcomes = [await _outcome(url) for url in _spellings(canary.port)]
        assert canary.hits == []
        with egress.opened(canary.at):
            assert await _outcome(f"http://{canary.at}/") == "200"
    await egress.aclose_all()
    assert set(outcomes) == {"refused", "not_reachable"}
    assert outcomes.count("not_reachable") >= 500
    assert canary.hits == ["GET /"]
