"""Secrets stay dark, seals open in their place alone, weak keys never start."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import os
import pickle
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ideplatform.kit import crypto, ids
from ideplatform.kit.crypto import Binding, DataKey, Keyset, LocalKeyring, Secret

ORGANIZATION = UUID("01900000-0000-7000-8000-000000000001")
ROW = UUID("01900000-0000-7000-8000-000000000002")
OTHER = UUID("01900000-0000-7000-8000-000000000003")
PLAIN = "sk-live-5up3r53cr3t-value"


def a_binding(**changes: Any) -> Binding:
    values: dict[str, Any] = {
        "organization": ORGANIZATION,
        "table": "secrets",
        "row": ROW,
        "field": "encrypted_value",
        "row_version": 3,
    }
    return Binding(**(values | changes))


def a_master(version: int = 1) -> str:
    return f"{version}:{base64.b64encode(os.urandom(32)).decode()}"


def a_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


# Secret


@pytest.mark.parametrize(
    "shown",
    [str, repr, "{}".format, "{:>40}".format, lambda s: f"{s!s}{s!r}{s}", lambda s: f"{s:x}"],
)
def test_a_secret_prints_dots(shown):
    assert "••••••••" in shown(Secret(PLAIN))
    assert PLAIN not in shown(Secret(PLAIN))


@pytest.mark.parametrize(
    "leak", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, orjson.dumps, msgspec.json.encode]
)
def test_a_secret_refuses_copies_pickle_and_json(leak):
    with pytest.raises(TypeError) as refused:
        leak(Secret(PLAIN))
    assert PLAIN not in str(refused.value)


def test_a_secret_inside_a_dataclass_stays_dark():
    parsed = crypto.read_api_key(crypto.new_api_key(ROW).reveal())
    assert parsed.secret.reveal() not in repr(parsed)
    with pytest.raises(TypeError):
        dataclasses.asdict(parsed)


def test_secrets_compare_and_reveal_and_are_no_keys():
    assert Secret(PLAIN) == Secret(PLAIN)
    assert Secret(PLAIN) != Secret(PLAIN + "x")
    assert Secret(PLAIN) != PLAIN
    assert Secret(PLAIN).reveal() == PLAIN
    with pytest.raises(TypeError):
        hash(Secret(PLAIN))


def test_the_last_four_characters_are_shown_of_long_secrets_only():
    assert Secret(PLAIN).last4() == "alue"
    assert Secret("elevenchars").last4() == ""


# Envelopes


def test_a_sealed_secret_opens_in_its_place():
    key = DataKey.fresh(version=2)
    sealed = crypto.seal(Secret(PLAIN), key=key, binding=a_binding())
    assert crypto.open_sealed(sealed, key=key, binding=a_binding()) == Secret(PLAIN)
    assert PLAIN.encode() not in sealed


def test_the_associated_data_is_the_documented_text():
    assert a_binding().associated_data(7) == (
        f"imv1|{ORGANIZATION}|secrets|{ROW}|encrypted_value|3|7".encode()
    )


@pytest.mark.parametrize(
    "moved",
    [
        {"organization": OTHER},
        {"table": "api_keys"},
        {"row": OTHER},
        {"field": "report_value"},
        {"row_version": 4},
    ],
)
def test_a_seal_moved_elsewhere_does_not_open(moved):
    key = DataKey.fresh(version=2)
    sealed = crypto.seal(Secret(PLAIN), key=key, binding=a_binding())
    with pytest.raises(crypto.SealBroken):
        crypto.open_sealed(sealed, key=key, binding=a_binding(**moved))


def test_a_seal_does_not_open_under_another_key_version_or_key():
    key = DataKey.fresh(version=2)
    sealed = crypto.seal(Secret(PLAIN), key=key, binding=a_binding())
    same_bytes = DataKey(version=3, material=key.material())
    for wrong in (same_bytes, DataKey.fresh(version=2)):
        with pytest.raises(crypto.SealBroken):
            crypto.open_sealed(sealed, key=wrong, binding=a_binding())


@given(position=st.integers(0, 1 + 12 + len(PLAIN) + 16 - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_breaks_the_seal(position, bit):
    key = DataKey.fresh(version=1)
    sealed = bytearray(crypto.seal(Secret(PLAIN), key=key, binding=a_binding()))
    sealed[position] ^= 1 << bit
    with pytest.raises(crypto.SealBroken):
        crypto.open_sealed(bytes(sealed), key=key, binding=a_binding())


@given(st.binary(max_size=80))
def test_noise_is_no_seal(noise):
    with pytest.raises(crypto.SealBroken):
        crypto.open_sealed(noise, key=DataKey.fresh(version=1), binding=a_binding())


@given(st.text(max_size=200))
def test_every_text_survives_its_seal(text):
    key = DataKey.fresh(version=1)
    sealed = crypto.seal(Secret(text), key=key, binding=a_binding())
    assert crypto.open_sealed(sealed, key=key, binding=a_binding()).reveal() == text


def test_nonces_do_not_repeat():
    key = DataKey.fresh(version=1)
    seals = {crypto.seal(Secret(PLAIN), key=key, binding=a_binding()) for _ in range(1_000)}
    assert len({sealed[1:13] for sealed in seals}) == 1_000


@pytest.mark.parametrize("name", ["secrets|x", "", "a b", "tablé"])
def test_a_binding_cannot_forge_its_neighbour(name):
    with pytest.raises(ValueError, match="plain columns"):
        a_binding(table=name).associated_data(1)


# Keyrings


def test_a_data_key_comes_back_from_its_wrapping():
    keyring = LocalKeyring.parse(a_master())
    key = DataKey.fresh(version=5)
    wrapped = crypto.wrap_data_key(key, organization=ORGANIZATION, keyring=keyring)
    opened = crypto.unwrap_data_key(wrapped, organization=ORGANIZATION, version=5, keyring=keyring)
    assert (opened.version, opened.material()) == (5, key.material())


@pytest.mark.parametrize(("organization", "version"), [(OTHER, 5), (ORGANIZATION, 6)])
def test_a_wrapped_key_of_another_organization_or_version_does_not_open(organization, version):
    keyring = LocalKeyring.parse(a_master())
    wrapped = crypto.wrap_data_key(
        DataKey.fresh(version=5), organization=ORGANIZATION, keyring=keyring
    )
    with pytest.raises(crypto.SealBroken):
        crypto.unwrap_data_key(wrapped, organization=organization, version=version, keyring=keyring)


def test_the_highest_master_wraps_and_older_ones_still_open():
    first, second = a_master(1), a_master(2)
    key = DataKey.fresh(version=1)
    old = crypto.wrap_data_key(key, organization=ORGANIZATION, keyring=LocalKeyring.parse(first))
    both = LocalKeyring.parse(f"{first},{second}")
    new = crypto.wrap_data_key(key, organization=ORGANIZATION, keyring=both)
    assert (old.master_version, new.master_version) == (1, 2)
    for wrapped in (old, new):
        opened = crypto.unwrap_data_key(wrapped, organization=ORGANIZATION, version=1, keyring=both)
        assert opened.material() == key.material()
    with pytest.raises(crypto.SealBroken):
        crypto.unwrap_data_key(
            old, organization=ORGANIZATION, version=1, keyring=LocalKeyring.parse(second)
        )


def test_a_wrapping_relabelled_to_another_master_does_not_open():
    key = base64.b64encode(os.urandom(32)).decode()
    keyring = LocalKeyring.parse(f"1:{key},2:{key}")
    wrapped = crypto.wrap_data_key(
        DataKey.fresh(version=1), organization=ORGANIZATION, keyring=keyring
    )
    relabelled = dataclasses.replace(wrapped, master_version=1)
    with pytest.raises(crypto.SealBroken):
        crypto.unwrap_data_key(relabelled, organization=ORGANIZATION, version=1, keyring=keyring)


def test_master_keys_are_read_from_a_file_that_only_its_owner_writes(tmp_path):
    path = tmp_path / "masters"
    path.write_text(f"{a_master(1)}\n{a_master(2)}\n")
    path.chmod(0o600)
    assert LocalKeyring.read(path).versions == {1, 2}
    path.chmod(0o666)
    with pytest.raises(crypto.WeakKey, match="written by others"):
        LocalKeyring.read(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "x:" + base64.b64encode(os.urandom(32)).decode(),
        "0:" + base64.b64encode(os.urandom(32)).decode(),
        "1:" + base64.b64encode(b"m" * 32).decode(),
        "1:" + base64.b64encode(os.urandom(31)).decode(),
        "1:" + base64.b64encode(os.urandom(33)).decode(),
        "1:not/base64!not/base64!not/base64!not/base64!",
        f"{a_master(1)},{a_master(1)}",
    ],
    ids=["none", "bare", "letter", "zero", "equal-bytes", "short", "long", "not-base64", "twice"],
)
def test_weak_or_malformed_master_keys_are_refused_without_being_quoted(text):
    with pytest.raises(crypto.WeakKey) as refused:
        LocalKeyring.parse(text)
    assert all(part not in str(refused.value) for part in text.split(":")[1:] if len(part) > 8)


# Key lists


def test_the_first_key_signs_and_all_are_found():
    keys = Keyset.parse(f"b:{a_key()}, a:{a_key()}", name="JWT_KEYS")
    assert keys.newest == "b"
    assert keys.kids == ("b", "a")
    assert keys.key("a") is not None
    assert keys.key("unknown") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no key"),
        ("nokid", "list of name:key"),
        ("k:" + "s7H2k9L4" * 3, "less than 32 bytes"),
        ("k:" + "a" * 64, "not random"),
        ("k:a-string-secret-at-least-256-bits-long", "well-known"),
        ("k:django-insecure-8f2k1l9x7q3w5e6r4t2y", "well-known"),
        ("k:ChangeMe-ChangeMe-ChangeMe-ChangeMe", "well-known"),
        ("bad kid:8f2k1l9x7q3w5e6r4t2y8f2k1l9x7q3w5e6r4t2y", "list of name:key"),
    ],
)
def test_weak_keys_are_refused(text, reason):
    with pytest.raises(crypto.WeakKey, match=reason):
        Keyset.parse(text, name="JWT_KEYS")


def test_a_repeated_key_or_name_is_refused():
    key = a_key()
    with pytest.raises(crypto.WeakKey, match="same key twice"):
        Keyset.parse(f"a:{key},b:{key}", name="JWT_KEYS")
    with pytest.raises(crypto.WeakKey, match="names a twice"):
        Keyset.parse(f"a:{key},a:{a_key()}", name="JWT_KEYS")


def test_a_key_that_serves_something_else_is_refused():
    secret = a_key()
    with pytest.raises(crypto.WeakKey, match="serves something else"):
        Keyset.parse(f"a:{secret}", name="JWT_KEYS", forbidden=frozenset({secret}))
    with pytest.raises(crypto.WeakKey, match="JWT_KEYS repeats a key of SECRET_KEY"):
        crypto.check_separate({"SECRET_KEY": secret, "JWT_KEYS": f"a:{secret}"})
    crypto.check_separate({"SECRET_KEY": secret, "JWT_KEYS": f"a:{a_key()}"})


@pytest.mark.parametrize("refuse", [pickle.dumps, copy.deepcopy])
def test_keys_are_not_copied_or_shown(refuse):
    text = a_key()
    for holder in (
        Keyset.parse(f"a:{text}", name="JWT_KEYS"),
        LocalKeyring.parse(a_master()),
        DataKey.fresh(version=1),
    ):
        assert text not in repr(holder)
        with pytest.raises(TypeError):
            refuse(holder)


# Credentials as text


def test_an_api_key_has_its_documented_form_and_reads_back():
    text = crypto.new_api_key(ROW).reveal()
    assert text.startswith("imk_" + ids.base32(ROW))
    assert len(text) == 4 + 26 + 52 + 6
    parsed = crypto.read_api_key(text)
    assert parsed.key_id == ROW
    assert parsed.secret.reveal() == text[30:82]


@given(position=st.integers(0, 87), letter=st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_a_mistyped_api_key_is_known_by_its_checksum(position, letter):
    text = crypto.new_api_key(ROW).reveal()
    mistyped = text[:position] + letter + text[position + 1 :]
    assume(mistyped != text)
    with pytest.raises(crypto.MalformedToken):
        crypto.read_api_key(mistyped)


@given(st.text(max_size=120))
def test_any_other_text_is_malformed_and_nothing_worse(text):
    keys = Keyset.parse(f"k:{a_key()}", name="JWT_KEYS")
    with pytest.raises(crypto.MalformedToken):
        crypto.read_api_key(text)
    with pytest.raises(crypto.MalformedToken):
        crypto.verify_refresh(text, keys=keys)


def test_the_stored_mac_depends_on_pepper_id_and_secret():
    peppers = Keyset.parse(f"2:{a_key()},1:{a_key()}", name="API_KEY_PEPPERS")
    key = crypto.read_api_key(crypto.new_api_key(ROW).reveal())
    other = crypto.read_api_key(crypto.new_api_key(ROW).reveal())
    moved = dataclasses.replace(key, key_id=OTHER)
    macs = [
        crypto.api_key_mac(key, peppers=peppers, version="2"),
        crypto.api_key_mac(key, peppers=peppers, version="1"),
        crypto.api_key_mac(other, peppers=peppers, version="2"),
        crypto.api_key_mac(moved, peppers=peppers, version="2"),
    ]
    assert len(set(macs)) == 4
    assert crypto.same(macs[0], crypto.api_key_mac(key, peppers=peppers, version="2"))


def test_a_refresh_token_is_a_function_of_session_generation_and_time():
    keys = Keyset.parse(f"k:{a_key()}", name="JWT_KEYS")
    moment = datetime(2026, 3, 1, 12, 0, 0, 123_457, tzinfo=UTC)
    values: dict[str, Any] = {"sid": ROW, "generation": 4, "rotated_at": moment, "keys": keys}
    token = crypto.refresh_token(**values)
    assert crypto.refresh_token(**values) == token
    assert crypto.refresh_token(**values | {"generation": 5}) != token
    read = crypto.verify_refresh(token.reveal(), keys=keys)
    assert (read.sid, read.generation) == (ROW, 4)
    assert read.rotated_at_us == 1_772_366_400_123_457


@given(position=st.integers(0, 103))
def test_a_changed_refresh_token_is_refused(position):
    keys = Keyset.parse(f"k:{a_key()}", name="JWT_KEYS")
    token = crypto.refresh_token(
        sid=ROW, generation=4, rotated_at=datetime.now(UTC), keys=keys
    ).reveal()
    letter = "0" if token[position] != "0" else "1"
    with pytest.raises(crypto.MalformedToken):
        crypto.verify_refresh(token[:position] + letter + token[position + 1 :], keys=keys)


def test_a_refresh_token_lives_as_long_as_its_key_is_listed():
    old, new = f"old:{a_key()}", f"new:{a_key()}"
    token = crypto.refresh_token(
        sid=ROW,
        generation=1,
        rotated_at=datetime.now(UTC),
        keys=Keyset.parse(old, name="JWT_KEYS"),
    ).reveal()
    both = Keyset.parse(f"{new},{old}", name="JWT_KEYS")
    assert crypto.verify_refresh(token, keys=both).generation == 1
    with pytest.raises(crypto.MalformedToken):
        crypto.verify_refresh(token, keys=Keyset.parse(new, name="JWT_KEYS"))


def test_one_time_tokens_are_random_and_kept_as_a_hash():
    tokens = {crypto.new_token("imt").reveal() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("imt_") and len(token) == 56 for token in tokens)
    assert crypto.token_hash("imt_x") == crypto.token_hash("imt_x")
    assert len(crypto.token_hash("imt_x")) == 32
