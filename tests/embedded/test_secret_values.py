"""The platform's keys: made once, private, never replaced by new ones over old data."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from ideplatform.embedded import secret_values
from ideplatform.embedded.errors import SecretsLost

NAMES = {"SECRET_KEY", "JWT_KEYS", "API_KEY_PEPPERS", "VAULT_MASTER_KEYS"}


def test_the_first_start_makes_every_key_in_a_private_file(tmp_path: Path):
    made = secret_values.ensure(tmp_path, {})
    assert set(made) == NAMES
    assert stat.S_IMODE((tmp_path / "secrets.env").stat().st_mode) == 0o600
    assert len(made["SECRET_KEY"]) >= 64
    assert len(set(made.values())) == len(NAMES)
    version, _, key = made["VAULT_MASTER_KEYS"].partition(":")
    assert (version, len(base64.b64decode(key, validate=True))) == ("1", 32)


def test_later_starts_read_the_same_keys_and_leave_the_file_alone(tmp_path: Path):
    made = secret_values.ensure(tmp_path, {})
    text = (tmp_path / "secrets.env").read_bytes()
    assert secret_values.ensure(tmp_path, {}) == made
    assert (tmp_path / "secrets.env").read_bytes() == text


def test_two_directories_share_no_key(tmp_path: Path):
    first = secret_values.ensure(_made(tmp_path / "a"), {})
    second = secret_values.ensure(_made(tmp_path / "b"), {})
    assert set(first.values()).isdisjoint(second.values())


def test_a_variable_stands_above_the_file(tmp_path: Path):
    made = secret_values.ensure(tmp_path, {})
    own = secret_values.ensure(tmp_path, {"SECRET_KEY": "own"})
    assert own == {**made, "SECRET_KEY": "own"}


@pytest.mark.parametrize("trace", ["postgres.env", "postgres", "children.json", "redis"])
def test_data_without_a_vault_key_is_never_given_a_new_one(tmp_path: Path, trace: str):
    (tmp_path / trace).touch()
    with pytest.raises(SecretsLost, match="restore that file from a backup or set VAULT"):
        secret_values.ensure(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [trace]


def test_a_file_that_lost_only_the_vault_key_is_refused_too(tmp_path: Path):
    secret_values.ensure(tmp_path, {})
    (tmp_path / "postgres.env").touch()
    path = tmp_path / "secrets.env"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("VAULT")]
    path.write_text("\n".join(lines))
    with pytest.raises(SecretsLost):
        secret_values.ensure(tmp_path, {})
    assert "VAULT_MASTER_KEYS=" not in path.read_text()


def test_a_key_ring_from_outside_opens_a_directory_without_its_file(tmp_path: Path):
    (tmp_path / "postgres.env").touch()
    found = secret_values.ensure(tmp_path, {"VAULT_MASTER_KEYS": "2:outside"})
    assert found["VAULT_MASTER_KEYS"] == "2:outside"


def test_a_file_of_master_keys_from_outside_is_the_only_one(tmp_path: Path):
    (tmp_path / "postgres.env").touch()
    found = secret_values.ensure(tmp_path, {"VAULT_MASTER_KEYS_FILE": "/run/secrets/masters"})
    assert set(found) == NAMES - {"VAULT_MASTER_KEYS"}
    assert "VAULT_MASTER_KEYS=" not in (tmp_path / "secrets.env").read_text()


def test_a_file_of_master_keys_leaves_the_known_key_where_it_is(tmp_path: Path):
    secret_values.ensure(tmp_path, {})
    text = (tmp_path / "secrets.env").read_bytes()
    found = secret_values.ensure(tmp_path, {"VAULT_MASTER_KEYS_FILE": "/run/secrets/masters"})
    assert "VAULT_MASTER_KEYS" not in found
    assert (tmp_path / "secrets.env").read_bytes() == text


def _made(path: Path) -> Path:
    path.mkdir()
    return path
