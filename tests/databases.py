"""Own clones of the migrated test database, for tests that really commit.

Flushing tables cannot work here: facts are append-only and refuse TRUNCATE.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connections
from psycopg import sql

_TRIES = 10
_END_READERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
_numbers = itertools.count(1)


@contextmanager
def clone() -> Iterator[str]:
    """Point Django at a fresh copy of the test database; the copy is dropped afterwards."""
    template = str(connections.settings["default"]["NAME"])
    name = f"{template}_c{next(_numbers)}"
    _use(template)
    _run(sql.SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
    _use(name)
    try:
        yield name
    finally:
        _use(template)
        _run(sql.SQL("DROP DATABASE {} WITH (FORCE)"), name)


def _use(name: str) -> None:
    connection = connections["default"]
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # of the PostgreSQL backend
    left = str(connections.settings["default"]["NAME"])
    connections.settings["default"]["NAME"] = name
    connection.settings_dict["NAME"] = name
    if left != name and left.startswith(own()):
        end_readers(left)


def own() -> str:
    """The name of this process's database; those of its clones begin with it."""
    return f"test_ide_{os.getpid()}"


def end_readers(name: str) -> None:
    """Close what threads of this process keep open: a lane would go on in that database."""
    with _maintenance() as server:
        server.execute(_END_READERS, [name])


def _run(statement: sql.SQL, *names: str) -> None:
    """Run it on the server; a template is freed of its readers first.

    A thread of the process, such as the outbox relay, may come back in between: then once more.
    """
    filled = statement.format(*(sql.Identifier(name) for name in names))
    with _maintenance() as server:
        for left in reversed(range(_TRIES)):
            if len(names) > 1:
                server.execute(_END_READERS, [names[1]])
            try:
                server.execute(filled)
                return
            except psycopg.errors.ObjectInUse:
                if not left:
                    raise


def _maintenance() -> psycopg.Connection:
    return connect("postgres", autocommit=True)


def connect(name: str, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection of its own to a database of the tests' server."""
    options = connections.settings["default"]
    return psycopg.connect(
        host=options["HOST"],
        port=options["PORT"] or None,
        user=options["USER"],
        password=options["PASSWORD"] or None,
        dbname=name,
        autocommit=autocommit,
    )
