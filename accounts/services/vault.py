"""The vault: secrets of organizations and people, sealed for one row, opened for one call.

Each organization has a data key, wrapped by a master key that the database never sees. A
ciphertext is bound to organization, table, row, column, row version and key version, so one that
was moved or rolled back does not open. Every decryption is audited; a plain text is remembered for
at most a minute, under the same rule as a principal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import DataKey, Organization, SecretRecord
from accounts.services import audit, feed, keys
from ideplatform.kit import crypto, ids
from ideplatform.kit.crypto import Secret
from ideplatform.kit.errors import Conflict, NotFound
from ideplatform.observability import metrics

CACHED_S = 60
MAX_CACHED = 1_000
REWRAP_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """A plain text in memory: whose it is and how fresh."""

    value: Secret
    owners: tuple[UUID, ...]
    until: float
    mark: int


_opened: dict[tuple[UUID, str], _Open] = {}


@transaction.atomic
def seal(
    *, organization_id: UUID, provider: str, value: Secret, user_id: UUID | None = None
) -> UUID:
    """Store a secret, replacing the owner's former one for the same `provider`; returns its id.

    `provider` is a vendor name, `provider:<id>[:report]` or `mcp:<id>`. A person has one secret per
    provider: Conflict if it lies in another organization.
    """
    data_key, key = _sealing_key(organization_id)
    owned = SecretRecord.objects.filter(organization_id=organization_id, provider=provider)
    owned = owned.filter(user_id=user_id) if user_id else owned.filter(user=None)
    record = owned.select_for_update().first() or SecretRecord(
        id=ids.new(),
        organization_id=organization_id,
        user_id=user_id,
        provider=provider,
        row_version=0,
    )
    record.row_version += 1
    record.data_key = data_key
    record.last4 = value.last4()
    record.encrypted_value = crypto.seal(value, key=key, binding=_binding(record))
    _store(record)
    feed.announce(organization_id=organization_id)
    _note("secret.sealed", record)
    return record.pk


def open_for_call(*, secret_id: UUID, purpose: str) -> Secret:
    """The plain secret, for one outbound call; `purpose` says which, for the audit log.

    Raises NotFound; SealBroken, answered as `internal`, if the row was tampered with.
    """
    known = recall(secret_id=secret_id, purpose=purpose)
    return known if known is not None else _open_record(secret_id, purpose)


def recall(*, secret_id: UUID, purpose: str) -> Secret | None:
    """A plain secret opened less than a minute ago, from memory alone."""
    known = _opened.get((secret_id, purpose))
    if known is None or not feed.is_fresh():
        return None
    if time.monotonic() < known.until and all(feed.latest(o) <= known.mark for o in known.owners):
        return known.value
    _opened.pop((secret_id, purpose), None)
    return None


@transaction.atomic
def destroy(*, secret_id: UUID) -> None:
    """Delete a secret; one that is gone already is no error."""
    record = SecretRecord.objects.select_for_update().filter(pk=secret_id).first()
    if record is None:
        return
    _note("secret.destroyed", record)
    record.delete()
    feed.announce(organization_id=record.organization_id)


def rewrap_batch(*, version: int) -> int:
    """Wrap up to 100 data keys with master key `version`, skipping those another process holds.

    No secret is opened and no ciphertext changes, so calls go on meanwhile. Returns how many.
    """
    with transaction.atomic():
        batch = DataKey.objects.exclude(master_version=version).order_by("id")
        rows = list(batch.select_for_update(skip_locked=True)[:REWRAP_BATCH])
        for row in rows:
            _wrap(row, _unwrapped(row))
            row.save(update_fields=["wrapped", "master_version"])
        if rows:
            audit.record(
                action="vault.rewrapped", details={"count": len(rows), "master_version": version}
            )
    return len(rows)


def remaining(*, version: int) -> int:
    """How many data keys are still under another master key."""
    count = DataKey.objects.exclude(master_version=version).count()
    metrics.vault_rewrap_remaining.set(count)
    return count


def _open_record(secret_id: UUID, purpose: str) -> Secret:
    mark = feed.watermark()
    record = SecretRecord.objects.select_related("data_key").filter(pk=secret_id).first()
    if record is None:
        raise NotFound
    value = crypto.open_sealed(
        bytes(record.encrypted_value), key=_unwrapped(record.data_key), binding=_binding(record)
    )
    _note("secret.opened", record, purpose=purpose)
    metrics.audit_decrypts_total.labels(purpose).inc()
    _remember(record, purpose, value, mark)
    return value


def _remember(record: SecretRecord, purpose: str, value: Secret, mark: int) -> None:
    if len(_opened) >= MAX_CACHED:
        _opened.clear()
    owners = (record.organization_id, *((record.user_id,) if record.user_id else ()))
    _opened[record.pk, purpose] = _Open(
        value=value, owners=owners, until=time.monotonic() + CACHED_S, mark=mark
    )


def _sealing_key(organization_id: UUID) -> tuple[DataKey, crypto.DataKey]:
    """The organization's newest data key, counted; a new one after 10^6 uses.

    The organization's row is the lock, so that two first secrets do not make two first keys.
    """
    locked = Organization.objects.select_for_update(no_key=True).filter(pk=organization_id)
    if locked.first() is None:
        raise NotFound
    newest = DataKey.objects.filter(organization_id=organization_id).order_by("-version").first()
    if newest is None or newest.uses >= crypto.DATA_KEY_MAX_USES:
        newest = _new_data_key(organization_id, newest)
    DataKey.objects.filter(pk=newest.pk).update(uses=F("uses") + 1)
    return newest, _unwrapped(newest)


def _new_data_key(organization_id: UUID, former: DataKey | None) -> DataKey:
    version = former.version + 1 if former else 1
    row = DataKey(id=ids.new(), organization_id=organization_id, version=version)
    _wrap(row, crypto.DataKey.fresh(version=version))
    row.save(force_insert=True)
    if former is not None:
        DataKey.objects.filter(pk=former.pk).update(retired_at=Now())
    return row


def _wrap(row: DataKey, key: crypto.DataKey) -> None:
    wrapped = crypto.wrap_data_key(key, organization=row.organization_id, keyring=keys.masters())
    row.wrapped, row.master_version = wrapped.blob, wrapped.master_version


def _unwrapped(row: DataKey) -> crypto.DataKey:
    wrapped = crypto.Wrapped(master_version=row.master_version, blob=bytes(row.wrapped))
    return crypto.unwrap_data_key(
        wrapped, organization=row.organization_id, version=row.version, keyring=keys.masters()
    )


def _binding(record: SecretRecord) -> crypto.Binding:
    return crypto.Binding(
        organization=record.organization_id,
        table="secrets",
        row=record.pk,
        field="encrypted_value",
        row_version=record.row_version,
    )


def _store(record: SecretRecord) -> None:
    try:
        with transaction.atomic():
            record.save()
    except IntegrityError:
        raise Conflict("this person's secret for the provider lies elsewhere") from None


def _note(action: str, record: SecretRecord, **details: str) -> None:
    audit.record(
        action=action,
        organization_id=record.organization_id,
        actor_id=record.user_id,
        target=record.pk,
        details={"provider": record.provider, **details},
    )
