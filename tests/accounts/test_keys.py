"""No process starts with a key that a stranger could know."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.house.source import ROOT

GOOD = "Zk3vQ9pL2xT7mB4nR8sW1yU6cE5hJ0aD"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "tiny-and-known"),
        ("JWT_KEYS", "k1:tiny-and-known"),
        ("JWT_KEYS", "k1:changeme-changeme-changeme-changeme"),
        ("JWT_KEYS", f"k1:{os.environ['SECRET_KEY']}"),
        ("API_KEY_PEPPERS", "1:" + "a" * 40),
        ("VAULT_MASTER_KEYS", f"1:{GOOD}"),
    ],
    ids=["short", "short-listed", "known", "of-another-use", "not-random", "not-a-key"],
)
def test_a_weak_key_stops_the_start_and_is_not_printed(name, value):
    ended = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert name in ended.stderr
    assert value.rpartition(":")[2] not in ended.stderr
    assert "Traceback" not in ended.stderr
