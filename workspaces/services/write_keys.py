"""Idempotency keys of writes: the same request again gives the same version again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models.functions import Now

from ideplatform.kit.errors import IdempotencyKeyReused, InvalidInput, Pointer
from workspaces.models import FileVersionRow, FileWriteKey

KEPT: Final = timedelta(hours=24)
MAX_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class WriteKey:
    """A caller's key, and the digest of the request it stands for."""

    workspace_id: UUID
    user_id: UUID
    key: str
    fingerprint: bytes


def of(
    workspace_id: UUID, user_id: UUID, key: str | None, parts: tuple[object, ...]
) -> WriteKey | None:
    """The key of a request made of `parts`, None without one; InvalidInput when it is unusable."""
    if key is None:
        return None
    if not 0 < len(key) <= MAX_LENGTH or not key.isprintable():
        detail = f"1 to {MAX_LENGTH} printable characters"
        raise InvalidInput(errors=[Pointer(pointer="/Idempotency-Key", detail=detail)])
    fingerprint = hashlib.sha256(repr(parts).encode()).digest()
    return WriteKey(workspace_id, user_id, key, fingerprint)


def made(write: WriteKey) -> FileVersionRow | None:
    """The version that this key made before; raises IdempotencyKeyReused for another request."""
    rows = FileWriteKey.objects.filter(
        workspace_id=write.workspace_id, user_id=write.user_id, key=write.key
    )
    known = rows.select_related("version__file", "version__blob").first()
    if known is None:
        return None
    if bytes(known.fingerprint) != write.fingerprint:
        raise IdempotencyKeyReused
    return known.version


def remember(write: WriteKey, version: FileVersionRow) -> None:
    """Keep what the key made, in the same transaction and under the workspace's lock."""
    FileWriteKey.objects.create(
        workspace_id=write.workspace_id,
        user_id=write.user_id,
        key=write.key,
        fingerprint=write.fingerprint,
        version=version,
    )


def prune() -> int:
    """Forget keys older than 24 hours; returns how many."""
    count, _ = FileWriteKey.objects.filter(created_at__lt=Now() - KEPT).delete()
    return count
