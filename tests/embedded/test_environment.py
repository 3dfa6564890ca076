"""What the processes of the platform, and commands beside it, find in their environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ideplatform.embedded import environment, options, private_files, secret_values

SECRETS = {"SECRET_KEY": "s", "VAULT_MASTER_KEYS": "1:v"}


def for_children(*flags: str, simulator_port: int | None = None, **inherited: str):
    return environment.for_children(
        options.parse(list(flags)),
        inherited=inherited,
        secrets=SECRETS,
        database_url="postgres://app",
        redis_url="redis://here",
        simulator_port=simulator_port,
    )


def test_only_the_simulator_may_be_reached_by_egress():
    env = for_children(simulator_port=20_001)
    assert env["EGRESS_ALLOW"] == "127.0.0.1:20001"
    assert env["SIMULATED_PROVIDER_URL"] == "http://127.0.0.1:20001"


def test_the_simulator_is_added_to_what_a_person_allowed():
    env = for_children(simulator_port=20_001, EGRESS_ALLOW="10.0.0.5:11434")
    assert env["EGRESS_ALLOW"] == "10.0.0.5:11434,127.0.0.1:20001"


def test_without_the_simulator_egress_stays_closed():
    env = for_children()
    assert "EGRESS_ALLOW" not in env
    assert "SIMULATED_PROVIDER_URL" not in env


def test_a_person_chooses_what_is_not_the_stores():
    env = for_children(DRAIN_S="20", PUBLIC_URL="https://ide.example", DATABASE_URL="elsewhere")
    assert (env["DRAIN_S"], env["PUBLIC_URL"]) == ("20", "https://ide.example")
    assert env["DATABASE_URL"] == "postgres://app"


def test_no_process_but_the_migration_knows_the_owner_of_the_tables():
    assert "DATABASE_OWNER_URL" not in for_children(DATABASE_OWNER_URL="postgres://owner")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
    ],
)
def test_the_address_is_one_a_browser_can_open(host: str, url: str):
    assert options.parse(["--host", host]).url == url
    assert for_children("--host", host)["PUBLIC_URL"] == url


def test_a_host_that_is_listened_on_is_also_answered():
    names = for_children("--host", "192.0.2.7")["ALLOWED_HOSTS"].split(",")
    assert names == ["localhost", "127.0.0.1", "[::1]", "192.0.2.7"]


@pytest.mark.parametrize(
    ("inherited", "flags", "simulates"),
    [
        ({}, [], True),
        ({"OPENAI_API_KEY": "sk"}, [], False),
        ({"OPENAI_API_KEY": "sk"}, ["--simulate"], True),
        ({}, ["--no-simulate"], False),
        ({"ENVIRONMENT": "production"}, [], False),
    ],
)
def test_the_simulator_runs_while_there_is_no_provider_key(inherited, flags, simulates):
    import argparse

    parser = argparse.ArgumentParser()
    options.add_arguments(parser, inherited)
    assert options.read(parser.parse_args(flags)).simulate is simulates


def test_a_command_finds_the_platform_of_its_directory(tmp_path: Path):
    secret_values.ensure(tmp_path, {})
    environment.publish(tmp_path, for_children(), owner_url="postgres://owner")
    found = {"DATA_DIR": str(tmp_path)}
    environment.adopt(found)
    assert found["DATABASE_URL"] == "postgres://app"
    assert found["DATABASE_OWNER_URL"] == "postgres://owner"
    assert found["VAULT_MASTER_KEYS"].startswith("1:")
    environment.withdraw(tmp_path)
    stopped = {"DATA_DIR": str(tmp_path)}
    environment.adopt(stopped)
    assert "DATABASE_URL" not in stopped


def test_a_command_with_its_own_file_of_master_keys_reads_no_other(tmp_path: Path):
    secret_values.ensure(tmp_path, {})
    found = {"DATA_DIR": str(tmp_path), "VAULT_MASTER_KEYS_FILE": "/run/secrets/masters"}
    environment.adopt(found)
    assert set(found) >= {"SECRET_KEY", "JWT_KEYS"}
    assert "VAULT_MASTER_KEYS" not in found


def test_a_command_with_its_own_database_is_left_alone(tmp_path: Path):
    values = {"DATABASE_URL": "postgres://app", "DATABASE_OWNER_URL": "postgres://owner"}
    private_files.write_values(tmp_path / "up.env", values, heading="x")
    found = {"DATA_DIR": str(tmp_path), "DATABASE_URL": "postgres://mine"}
    environment.adopt(found)
    assert found == {"DATA_DIR": str(tmp_path), "DATABASE_URL": "postgres://mine"}


@pytest.mark.parametrize("kind", ["test", "production"])
def test_only_the_embedded_default_is_looked_up(tmp_path: Path, kind: str):
    private_files.write_values(tmp_path / "up.env", {"REDIS_URL": "redis://x"}, heading="x")
    found = {"DATA_DIR": str(tmp_path), "ENVIRONMENT": kind}
    environment.adopt(found)
    assert "REDIS_URL" not in found
