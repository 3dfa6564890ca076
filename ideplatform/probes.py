"""What `/ready` asks: the database and its schema, the access feed; Redis is only reported."""

from __future__ import annotations

import functools

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.services import feed
from ideplatform.kit import redis
from ideplatform.kit.db import run_db
from ideplatform.observability import health


def register() -> None:
    """Called once per process by the project's AppConfig."""
    health.register("database", _database, required=True)
    health.register("migrations", _migrations, required=True)
    health.register("access_feed", _access_feed, required=True)
    health.register("redis", _redis, required=False)


async def _database() -> None:
    await run_db(_select_one)


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _migrations() -> None:
    await run_db(_schema_is_current)


@functools.cache
def _schema_is_current() -> None:
    """Raises while this code's migrations are not applied; success is remembered."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise RuntimeError("migrations are not applied")


async def _access_feed() -> None:
    await run_db(feed.require_fresh)


async def _redis() -> None:
    client = redis.async_client("bus")
    try:
        await client.ping()
    finally:
        await client.aclose()
