"""Secrets are sealed for one place, opened for one call, and rewrapped while serving."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from accounts.models import AccessChange, AuditEvent, DataKey, Organization, SecretRecord
from accounts.services import feed, keys, vault
from ideplatform.kit import crypto
from ideplatform.kit.crypto import SealBroken, Secret
from ideplatform.kit.errors import Conflict, NotFound
from tests import factories
from tests.waiting import eventually

PLAIN = "sk-live-0123456789"


def _sealed(organization: Organization | None = None, *, value: str = PLAIN, **owner):
    organization = organization or factories.an_organization()
    values = {"provider": "openai"} | owner
    return vault.seal(organization_id=organization.pk, value=Secret(value), **values)


def _open(secret_id) -> str:
    return vault._open_record(secret_id, "test").reveal()


@pytest.mark.django_db
def test_what_was_sealed_is_opened_and_nowhere_in_the_database():
    secret_id = _sealed()
    assert vault.open_for_call(secret_id=secret_id, purpose="test").reveal() == PLAIN
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_jsonb(s)::text FROM secrets s UNION ALL SELECT to_jsonb(a)::text"
            " FROM audit_events a"
        )
        dump = " ".join(row for (row,) in cursor.fetchall())
    assert PLAIN not in dump
    assert PLAIN.encode().hex() not in dump


@pytest.mark.django_db
def test_sealing_again_replaces_the_secret_in_its_row():
    organization = factories.an_organization()
    first = _sealed(organization)
    again = _sealed(organization, value="sk-live-replaced-99")
    assert first == again
    row = SecretRecord.objects.get()
    assert (row.row_version, row.last4, row.data_key.uses) == (2, "d-99", 2)
    assert _open(first) == "sk-live-replaced-99"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "column", ["organization", "row", "row_version", "key", "ciphertext", "rolled_back", "retired"]
)
def test_a_moved_or_altered_ciphertext_does_not_open(column):
    here, there = factories.an_organization(), factories.an_organization()
    mine, other = _sealed(here), _sealed(there, value="sk-live-of-somebody")
    row, foreign = SecretRecord.objects.get(pk=mine), SecretRecord.objects.get(pk=other)
    old = bytes(row.encrypted_value)
    match column:
        case "organization":
            SecretRecord.objects.filter(pk=mine).update(organization=there, provider="x")
        case "row":
            SecretRecord.objects.filter(pk=mine).update(encrypted_value=foreign.encrypted_value)
        case "row_version":
            SecretRecord.objects.filter(pk=mine).update(row_version=2)
        case "key":
            SecretRecord.objects.filter(pk=mine).update(data_key=foreign.data_key)
        case "ciphertext":
            SecretRecord.objects.filter(pk=mine).update(encrypted_value=old[:-1] + b"\0")
        case "rolled_back":
            _sealed(here, value="sk-live-the-newer")
            SecretRecord.objects.filter(pk=mine).update(encrypted_value=old)
        case "retired":
            DataKey.objects.filter(pk=row.data_key_id).update(version=7)
    with pytest.raises(SealBroken):
        _open(mine)


@pytest.mark.django_db
def test_an_unknown_secret_is_not_found_and_a_destroyed_one_is_gone():
    secret_id = _sealed()
    vault.destroy(secret_id=secret_id)
    vault.destroy(secret_id=secret_id)
    with pytest.raises(NotFound):
        vault.open_for_call(secret_id=secret_id, purpose="test")
    assert AuditEvent.objects.filter(action="secret.destroyed").count() == 1


@pytest.mark.django_db
def test_every_decryption_is_audited_with_its_purpose():
    secret_id = _sealed()
    _open(secret_id)
    _open(secret_id)
    events = AuditEvent.objects.filter(action="secret.opened", target=str(secret_id))
    assert [event.details for event in events] == [{"provider": "openai", "purpose": "test"}] * 2


@pytest.mark.django_db
def test_a_person_has_one_secret_per_provider_and_no_organization_shares_it():
    user = factories.a_user()
    _sealed(user.personal_organization, user_id=user.pk)
    with pytest.raises(Conflict):
        _sealed(factories.an_organization(user), user_id=user.pk)
    _sealed(user.personal_organization)
    assert SecretRecord.objects.count() == 2


@pytest.mark.django_db
def test_a_data_key_serves_a_million_times_and_then_rests():
    organization = factories.an_organization()
    first = _sealed(organization)
    DataKey.objects.update(uses=crypto.DATA_KEY_MAX_USES)
    second = _sealed(organization, provider="anthropic")
    rows = DataKey.objects.order_by("version")
    assert [(row.version, row.retired_at is None) for row in rows] == [(1, False), (2, True)]
    assert (_open(first), _open(second)) == (PLAIN, PLAIN)


@pytest.mark.django_db
def test_an_organization_ends_with_its_keys_and_secrets():
    organization = factories.an_organization()
    _sealed(organization)
    organization.delete()
    assert (DataKey.objects.count(), SecretRecord.objects.count()) == (0, 0)


@pytest.mark.usefixtures("committed_db")
def test_a_plain_text_is_remembered_until_the_feed_says_otherwise():
    organization = factories.an_organization()
    secret_id = _sealed(organization)
    AccessChange.objects.all().delete()  # what sealing announced is not what is tested
    feed.stop()
    eventually(feed.is_fresh)
    assert vault.open_for_call(secret_id=secret_id, purpose="chat").reveal() == PLAIN
    assert vault.recall(secret_id=secret_id, purpose="chat") == Secret(PLAIN)
    vault.open_for_call(secret_id=secret_id, purpose="chat")
    assert AuditEvent.objects.filter(action="secret.opened").count() == 1
    assert vault.recall(secret_id=secret_id, purpose="another") is None
    _sealed(organization, value="sk-live-replaced-99")
    assert vault.recall(secret_id=secret_id, purpose="chat") is None
    opened = vault.open_for_call(secret_id=secret_id, purpose="chat")
    assert opened.reveal() == "sk-live-replaced-99"


@pytest.mark.usefixtures("committed_db")
def test_two_first_secrets_at_once_share_one_first_key():
    organization = factories.an_organization()
    gate = threading.Barrier(4)

    def store(number: int) -> None:
        gate.wait()
        try:
            _sealed(organization, provider=f"vendor{number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, range(4)))
    key = DataKey.objects.get()
    assert (key.version, key.uses) == (1, 4)


def _with_masters(settings, text: str) -> None:
    """The process as if started with these VAULT_MASTER_KEYS."""
    secret = type(settings.ENV.vault_master_keys)(text)
    settings.ENV = settings.ENV.model_copy(update={"vault_master_keys": secret})
    keys.masters.cache_clear()


@pytest.fixture
def masters(settings):
    """The one master key of the tests, and the list with a second one beside it."""
    first = settings.ENV.vault_master_keys.get_secret_value()
    second = base64.b64encode(bytes(range(40, 72))).decode()
    yield first, f"{first},2:{second}"
    _with_masters(settings, first)


@pytest.mark.usefixtures("committed_db")
def test_rewrapping_while_serving_moves_every_key_and_fails_no_call(masters, settings, capsys):
    secrets = [_sealed(factories.an_organization()) for _ in range(30)]
    ciphertexts = dict(SecretRecord.objects.values_list("pk", "encrypted_value"))
    _with_masters(settings, masters[1])
    failures: list[BaseException] = []
    opened: list[str] = []
    ended = threading.Event()

    def call() -> None:
        try:
            while not ended.is_set() or len(opened) < 2 * len(secrets):
                opened.append(_open(secrets[len(opened) % len(secrets)]))
        except Exception as failure:  # noqa: BLE001 - whatever it is, the test reports it
            failures.append(failure)
        finally:
            connections.close_all()

    caller = threading.Thread(target=call)
    caller.start()
    eventually(lambda: opened)
    call_command("vault_rewrap", "--to", "2")
    ended.set()
    caller.join()
    assert "rewrapped 30 data keys, 0 left" in capsys.readouterr().out
    assert (failures, set(opened)) == ([], {PLAIN})
    assert set(DataKey.objects.values_list("master_version", flat=True)) == {2}
    assert dict(SecretRecord.objects.values_list("pk", "encrypted_value")) == ciphertexts
    _with_masters(settings, masters[1].partition(",")[2])
    assert {_open(secret) for secret in secrets} == {PLAIN}


def test_only_the_highest_master_key_is_a_target():
    with pytest.raises(CommandError):
        call_command("vault_rewrap", "--to", "9")
