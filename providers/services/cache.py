"""`cache:provider:{id}`: an account's public description in Redis, 60 s, without secrets.

The stored version must be the row's, so an entry that outlived a change is never used. Losing
Redis costs the rendering alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

import orjson

from ideplatform.kit import redis, renderers
from providers.models import Provider

KEPT_S: Final = 60
Description = Mapping[str, object]


def description(row: Provider, describe: Callable[[Provider], Description]) -> Description:
    """The remembered description of this version of the account, else a fresh one."""
    remembered = _read(row.pk)
    if remembered is not None and remembered.get("version") == row.version:
        return remembered
    fresh = describe(row)
    _write(row.pk, fresh)
    return fresh


def drop(provider_id: UUID) -> None:
    """Forget an account; a lost Redis has forgotten it already."""
    try:
        redis.client("cache").delete(redis.provider_key(provider_id))
    except redis.ERRORS:
        return


def _read(provider_id: UUID) -> Description | None:
    try:
        held = redis.client("cache").get(redis.provider_key(provider_id))
    except redis.ERRORS:
        return None
    if not isinstance(held, bytes):
        return None
    found = orjson.loads(held)
    return found if isinstance(found, dict) else None


def _write(provider_id: UUID, fresh: Description) -> None:
    try:
        key = redis.provider_key(provider_id)
        redis.client("cache").set(key, renderers.encode(fresh), ex=KEPT_S)
    except redis.ERRORS:
        return
