"""The environment is judged whole, before anything starts, and never shows its values."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.house.source import ROOT

GOOD = {
    "SECRET_KEY": os.environ["SECRET_KEY"],
    "JWT_KEYS": os.environ["JWT_KEYS"],
    "API_KEY_PEPPERS": os.environ["API_KEY_PEPPERS"],
    "VAULT_MASTER_KEYS": os.environ["VAULT_MASTER_KEYS"],
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


def start(**changes: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a fresh process."""
    env = {"PATH": os.environ["PATH"], "ENVIRONMENT": "production"} | GOOD | changes
    return subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        cwd=ROOT,
        env=env | {"DJANGO_SETTINGS_MODULE": "ideplatform.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_complete_environment_starts_without_any_store():
    assert start().returncode == 0


def test_every_wrong_variable_is_named_at_once_and_no_value_shown():
    done = start(DB_POOL_MAX="hidden-value", WEB_PROCESSES="0", REDIS_URL="redis://u:pw@h/0")
    assert done.returncode != 0
    assert "DB_POOL_MAX" in done.stderr
    assert "WEB_PROCESSES" in done.stderr
    assert "hidden-value" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "true"),
        ("FAILPOINT", "called:kill"),
        ("SIMULATED_PROVIDER_URL", "http://127.0.0.1:9"),
        ("CLOCK_OFFSET_S", "7200"),
        ("STRIPE_API_BASE", "http://127.0.0.1:9"),
    ],
)
def test_production_refuses_what_only_tests_need(name, value):
    done = start(**{name: value})
    assert done.returncode != 0
    assert name in done.stderr
    assert value not in done.stderr


@pytest.mark.parametrize("weak", ["short", "x" * 64, "changeme" * 8])
def test_a_weak_secret_stops_the_start(weak):
    done = start(SECRET_KEY=weak)
    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr
    assert weak not in done.stderr


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({"STRIPE_SECRET_KEY": "sk_test_hidden"}, "STRIPE_WEBHOOK_SECRETS"),
        ({"STRIPE_WEBHOOK_SECRETS": "whsec_hidden"}, "STRIPE_SECRET_KEY"),
        (
            {"STRIPE_SECRET_KEY": "rk_live_hidden", "STRIPE_WEBHOOK_SECRETS": "whsec_hidden"},
            "STRIPE_LIVEMODE",
        ),
        (
            {
                "STRIPE_SECRET_KEY": "sk_test_hidden",
                "STRIPE_WEBHOOK_SECRETS": "whsec_hidden",
                "STRIPE_LIVEMODE": "true",
            },
            "STRIPE_LIVEMODE",
        ),
    ],
)
def test_stripe_is_configured_as_a_whole_and_in_one_mode(changes, blamed):
    done = start(**changes)
    assert done.returncode != 0
    assert blamed in done.stderr
    assert "hidden" not in done.stderr
