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


def start(
    program: str = "import django; django.setup()", command: str = "", **changes: str
) -> subprocess.CompletedProcess[str]:
    """Load the settings in a fresh process, as `manage.py <command>` would."""
    env = {"PATH": os.environ["PATH"], "ENVIRONMENT": "production"} | GOOD | changes
    return subprocess.run(
        [sys.executable, "-c", program, command],
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
    ("command", "owner", "user"),
    [
        ("migrate", "postgres://owner@127.0.0.1:1/none", "owner"),
        ("migrate", "", "nobody"),
        ("serve", "postgres://owner@127.0.0.1:1/none", "nobody"),
    ],
)
def test_only_a_migration_is_the_owner_of_the_tables(command, owner, user):
    program = "from django.conf import settings; print(settings.DATABASES['default']['USER'])"
    assert start(program, command, DATABASE_OWNER_URL=owner).stdout == user + "\n"


def test_forms_come_from_our_own_origin_and_the_listed_ones():
    program = "from django.conf import settings; print(*settings.CSRF_TRUSTED_ORIGINS)"
    done = start(
        program,
        PUBLIC_URL="https://ide.example/path",
        ALLOWED_ORIGINS="https://a.example, https://b.example",
    )
    assert done.stdout == "https://ide.example https://a.example https://b.example\n"


def test_master_keys_may_stand_in_a_file(tmp_path):
    path = tmp_path / "masters"
    path.write_text(GOOD["VAULT_MASTER_KEYS"] + "\n")
    path.chmod(0o600)
    assert start(VAULT_MASTER_KEYS="", VAULT_MASTER_KEYS_FILE=str(path)).returncode == 0


@pytest.mark.parametrize(
    "changes",
    [{"VAULT_MASTER_KEYS": ""}, {"VAULT_MASTER_KEYS_FILE": "/run/secrets/masters"}],
    ids=["neither", "both"],
)
def test_master_keys_stand_in_one_place(changes):
    done = start(**changes, WEB_PROCESSES="0")
    assert done.returncode != 0
    assert "set either VAULT_MASTER_KEYS or VAULT_MASTER_KEYS_FILE" in done.stderr
    assert "WEB_PROCESSES" in done.stderr


def test_a_file_of_master_keys_that_others_may_write_stops_the_start(tmp_path):
    path = tmp_path / "masters"
    path.write_text(GOOD["VAULT_MASTER_KEYS"])
    path.chmod(0o622)
    done = start(VAULT_MASTER_KEYS="", VAULT_MASTER_KEYS_FILE=str(path))
    assert done.returncode != 0
    assert "VAULT_MASTER_KEYS_FILE may be written by others" in done.stderr


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
