"""A limit lets exactly its count through, on Redis time, and keeps its promise without Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest

from ideplatform.kit import redis, throttle
from ideplatform.kit.errors import TooManyRequests
from ideplatform.kit.throttle import Limit
from ideplatform.observability import metrics
from tests.waiting import eventually

USER = UUID("01900000-0000-7000-8000-000000000001")
ROOT = Path(__file__).resolve().parents[2]
HUNDRED = Limit(endpoint="hundred", count=100, window_s=60, without_redis="local")
TWO = Limit(endpoint="two", count=2, window_s=60, without_redis="local")
TEN = Limit(endpoint="ten", count=10, window_s=60, without_redis="local")
THREE = Limit(endpoint="three", count=3, window_s=60, without_redis="local")


def _size(claim: throttle.Claim) -> int:
    return int(redis.client("cache").zcard(claim.key))


def _passes(claim: throttle.Claim, attempts: int) -> int:
    passed = 0
    for _ in range(attempts):
        try:
            throttle.take(claim)
        except TooManyRequests:
            continue
        passed += 1
    return passed


def test_exactly_a_hundred_of_a_hundred_pass_for_32_clients_at_once():
    claim = throttle.of_user(HUNDRED, USER)
    passed: list[int] = []
    threads = [
        threading.Thread(target=lambda: passed.append(_passes(claim, 10))) for _ in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(passed) == 100
    assert _size(claim) == 100


def test_the_keys_are_those_of_the_seed():
    assert throttle.of_user(HUNDRED, USER).key == f"ratelimit:{USER}:hundred"
    assert throttle.of_ip(HUNDRED, "192.0.2.7").key == "ratelimit:ip:192.0.2.7:hundred"
    account = throttle.of_account(HUNDRED, "person@example.test", ip="192.0.2.7").key
    assert account.startswith("ratelimit:ip:192.0.2.7:hundred:")
    assert "person" not in account


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("garbage", "other garbage", True),
    ],
)
def test_who_shares_a_window_by_address(left, right, same):
    keys = {throttle.of_ip(TWO, left).key, throttle.of_ip(TWO, right).key}
    assert (len(keys) == 1) is same


def test_a_refusal_says_when_to_come_back_and_counts_nothing():
    claim = throttle.of_user(TWO, USER)
    assert _passes(claim, 2) == 2
    with pytest.raises(TooManyRequests) as refused:
        throttle.take(claim)
    assert refused.value.retry_after_s == 60
    assert _size(claim) == 2


def test_a_refusal_is_counted_by_the_limit_that_keeps_one_waiting_longest():
    small, wide = throttle.of_user(TWO, USER), throttle.of_user(HUNDRED, USER)
    refused = metrics.rate_limited_total.labels(endpoint=TWO.endpoint)
    other = metrics.rate_limited_total.labels(endpoint=HUNDRED.endpoint)
    before = refused._value.get(), other._value.get()
    throttle.take(wide, small)
    throttle.take(wide, small)
    with pytest.raises(TooManyRequests):
        throttle.take(wide, small)
    assert (refused._value.get(), other._value.get()) == (before[0] + 1, before[1])
    assert _size(wide) == 2


def test_the_window_slides():
    limit = Limit(endpoint="short", count=2, window_s=1, without_redis="open")
    claim = throttle.of_user(limit, USER)
    assert _passes(claim, 5) == 2
    started = time.monotonic()
    eventually(lambda: _passes(claim, 1))
    assert 0.8 < time.monotonic() - started < 2
    assert redis.client("cache").pttl(claim.key) <= 1_000


def test_all_claims_pass_together_or_none_is_counted():
    two, three = throttle.of_ip(TWO, "192.0.2.7"), throttle.of_user(THREE, USER)
    throttle.take(two, three)
    throttle.take(two, three)
    with pytest.raises(TooManyRequests):
        throttle.take(two, three)
    assert (_size(two), _size(three)) == (2, 2)
    throttle.take(three)
    assert _size(three) == 3


def test_what_is_given_back_is_free_again_and_nothing_else():
    claim = throttle.of_user(TWO, USER)
    throttle.take(claim)
    throttle.give_back(throttle.take(claim))
    assert _size(claim) == 1
    assert _passes(claim, 3) == 1


def test_a_request_may_count_as_several():
    taken = throttle.take(throttle.of_user(TEN, USER, cost=7))
    for cost in (4, 11):
        with pytest.raises(TooManyRequests) as refused:
            throttle.take(throttle.of_user(TEN, USER, cost=cost))
        assert 0 < (refused.value.retry_after_s or 0) <= 60
    throttle.take(throttle.of_user(TEN, USER, cost=3))
    assert _passes(throttle.of_user(TEN, USER), 1) == 0
    throttle.give_back(taken)
    assert _passes(throttle.of_user(TEN, USER), 8) == 7


def test_without_redis_it_counts_as_several_too():
    windows = throttle._LocalWindows()
    taken = windows.take([throttle.of_user(TEN, USER, cost=7)])
    for cost in (4, 11):
        with pytest.raises(TooManyRequests) as refused:
            windows.take([throttle.of_user(TEN, USER, cost=cost)])
        assert 0 < (refused.value.retry_after_s or 0) <= 60
    windows.give_back(taken)
    windows.take([throttle.of_user(TEN, USER, cost=10)])


def test_more_than_a_whole_window_is_refused_even_by_an_empty_one():
    with pytest.raises(TooManyRequests) as refused:
        throttle.take(throttle.of_user(TWO, USER, cost=3))
    assert refused.value.retry_after_s == TWO.window_s
    assert _passes(throttle.of_user(TWO, USER), 3) == 2


def test_a_wiped_redis_forgets_and_goes_on():
    claim = throttle.of_user(TWO, USER)
    assert _passes(claim, 3) == 2
    redis.client("cache").flushdb()
    redis.client("cache").script_flush()
    assert _passes(claim, 3) == 2


def test_the_named_limits_are_those_of_the_design():
    named = {
        limit.endpoint: (limit.count, limit.window_s, limit.without_redis)
        for limit in vars(throttle).values()
        if isinstance(limit, Limit)
    }
    assert named == {
        "register": (5, 60, "local"),
        "refresh": (60, 60, "local"),
        "run_start": (30, 60, "local"),
        "top_up": (20, 60, "local"),
        "provider_test": (6, 60, "local"),
        "usage_report": (600, 60, "local"),
        "usage_report_day": (50_000, 86_400, "local"),
        "export": (20, 3_600, "local"),
        "search": (60, 60, "open"),
        "write": (300, 60, "open"),
        "read": (1_200, 60, "open"),
        "login_pair": (5, 900, "local"),
        "login_ip": (30, 600, "local"),
        "login_account": (50, 3_600, "local"),
    }


WITHOUT_REDIS = """
import json, time
import django; django.setup()
from uuid import UUID
from ideplatform.kit import throttle
from ideplatform.kit.errors import TooManyRequests
from ideplatform.kit.throttle import Limit

user = UUID(int=1)
local = Limit(endpoint="local", count=100, window_s=60, without_redis="local")
short = Limit(endpoint="short", count=4, window_s=1, without_redis="local")
open_ = Limit(endpoint="open", count=1, window_s=60, without_redis="open")

def passes(attempts, *claims):
    passed, wait = 0, None
    for _ in range(attempts):
        try:
            throttle.take(*claims)
            passed += 1
        except TooManyRequests as refused:
            wait = refused.retry_after_s
    return passed, wait

started = time.monotonic()
answer = {
    "local": passes(100, throttle.of_user(local, user)),
    "open": passes(50, throttle.of_user(open_, user)),
    "mixed": passes(100, throttle.of_ip(local, "192.0.2.2"), throttle.of_user(open_, user)),
    "short": passes(5, throttle.of_user(short, user)),
}
taken = throttle.take(throttle.of_ip(short, "192.0.2.3"))
throttle.give_back(taken)
answer["given_back"] = passes(5, throttle.of_ip(short, "192.0.2.3"))
answer["seconds"] = time.monotonic() - started
while passes(1, throttle.of_user(short, user))[0] == 0:
    time.sleep(0.02)
answer["slid"] = time.monotonic() - started
for number in range(11_000):
    throttle.take(throttle.of_account(local, str(number)))
answer["windows"] = len(throttle._local._windows)
print(json.dumps(answer))
"""


def test_without_redis_each_process_keeps_its_share():
    """Two web processes: each lets half of the count through, so together no more than all."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_REDIS],
        env={**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0", "WEB_PROCESSES": "2"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer = json.loads(ended.stdout.splitlines()[-1])
    seconds, slid = answer.pop("seconds"), answer.pop("slid")
    assert answer == {
        "local": [50, 60],
        "open": [50, None],
        "mixed": [50, 60],
        "short": [2, 1],
        "given_back": [2, 1],
        "windows": 10_000,
    }
    assert seconds < 1, "an outage must not cost a wait per call"
    assert slid < 3
