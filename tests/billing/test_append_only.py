"""Every table of money says in the database what may become of its rows.

The tables are read from the database, so a new one without guards fails here. A row of each is made
up with its other guards asleep, and every statement is tried on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

FACTS: Mapping[str, frozenset[str]] = {
    "billing_audit": frozenset(),
    "billing_budget_alerts": frozenset(),
    "billing_ledger_entries": frozenset(),
    "billing_ledger_txns": frozenset(),
    "billing_lot_uses": frozenset(),
    "billing_provider_report_pages": frozenset(),
    "billing_statements": frozenset(),
    "billing_usage_corrections": frozenset(),
    "billing_usage_reports": frozenset(),
    "usage_events": frozenset({"user_id", "workspace_id"}),
}
"""Rows that are written once. Named are the links that a purged user or workspace takes along."""

STATES: Mapping[str, frozenset[str] | None] = {
    "billing_approval_requests": None,
    "billing_audit_head": frozenset(),
    "billing_auto_recharges": None,
    "billing_budget_approvals": None,
    "billing_budget_periods": None,
    "billing_budgets": None,
    "billing_clawbacks": frozenset({"state"}),
    "billing_credit_lots": frozenset({"remaining"}),
    "billing_customers": None,
    "billing_hand_moves": frozenset(),
    "billing_ledger_accounts": None,
    "billing_markup_rules": None,
    "billing_model_aliases": None,
    "billing_prices": None,
    "billing_recon_lines": None,
    "billing_recon_runs": None,
    "billing_rollup_watermark": None,
    "billing_spent_tokens": None,
    "billing_stripe_inbox": None,
    "billing_stripe_outbox": None,
    "billing_top_ups": None,
    "billing_two_person_rule": None,
}
"""Rows that move but never go. Named are the columns that move, where one rule says it of all."""

DRAFTS = frozenset({"billing_model_aliases", "billing_prices"})
"""May be deleted until they are published."""

FREE: Mapping[str, str] = {
    "billing_export_chunks": "copies of events on their way to their reader",
    "billing_exports": "orders of such copies",
    "billing_holds": "forgotten a month after their end; their event stays",
    "billing_notices": "what a person was told, once it is read",
    "billing_price_versions": "drafts come and go; what was published is kept by its prices",
    "billing_provider_cards": "names of accounts, kept by the accounts' owner",
    "billing_view_preferences": "how a person wants to see money",
    "usage_daily": "sums, made anew from events at any time",
    "usage_hourly": "sums, made anew from events at any time",
}
"""Rows that may go, and why that loses no money."""

_ONE, _OTHER = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"
_VALUES: Mapping[str, tuple[str, str]] = {
    "bool": ("false", "true"),
    "bytea": (r"'\x00'", r"'\x01'"),
    "date": ("'2026-01-02'", "'2026-01-03'"),
    "int2": ("2", "3"),
    "int4": ("2", "3"),
    "int8": ("2", "3"),
    "jsonb": ("'{}'", "'[]'"),
    "numeric": ("2", "3"),
    "text": ("'a'", "'b'"),
    "timestamptz": ("'2026-01-02T00:00Z'", "'2026-01-03T00:00Z'"),
    "tstzrange": ("'[2026-01-02,)'", "'[2026-01-03,)'"),
    "uuid": (f"'{_ONE}'", f"'{_OTHER}'"),
    "varchar": ("'a'", "'b'"),
    "xid8": ("'2'", "'3'"),
    "_int2": ("'{2}'", "'{3}'"),
    "_text": ("'{a}'", "'{b}'"),
    "_uuid": (f"'{{{_ONE}}}'", f"'{{{_OTHER}}}'"),
    "_varchar": ("'{a}'", "'{b}'"),
}
"""A value of each type of column, and another one."""
_GUARDED = "23001"
"""PostgreSQL's restrict_violation, which our guards raise and nothing else here does."""


def _rows(sql: str, *values: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def _columns(table: str) -> dict[str, str]:
    """Its columns that are written, and their types."""
    return dict(
        _rows(
            "SELECT column_name, udt_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
            table,
        )
    )


def _is_refused(statement: str) -> bool:
    """Whether a guard speaks. What it let through is undone."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            transaction.set_rollback(True)
    except DatabaseError as refused:
        if getattr(refused.__cause__, "sqlstate", "") != _GUARDED:
            raise
        return True
    return False


@contextmanager
def _a_row_of(table: str) -> Iterator[None]:
    """A row that no constraint or trigger had a say in; afterwards triggers stand guard again."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for (name,) in _rows(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass"
            " AND contype IN ('c', 'f', 'u', 'x')",
            table,
        ):
            cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f'DELETE FROM "{table}"')
        columns = _columns(table)
        values = ", ".join(_VALUES[kind][0] for kind in columns.values())
        names = ", ".join(f'"{name}"' for name in columns)
        cursor.execute(f'INSERT INTO "{table}" ({names}) VALUES ({values})')
        cursor.execute("SET LOCAL session_replication_role = origin")
        yield
        transaction.set_rollback(True)


def test_every_table_of_money_is_known_here(db):
    found = {
        name
        for (name,) in _rows(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            " AND (tablename LIKE 'billing\\_%%' OR tablename LIKE 'usage\\_%%')"
        )
    }
    assert found == {*FACTS, *STATES, *FREE}
    assert len(found) == len(FACTS) + len(STATES) + len(FREE)


@pytest.mark.parametrize("table", sorted(FACTS))
def test_a_fact_never_changes_in_any_column(db, table):
    with _a_row_of(table):
        free = {
            name
            for name, kind in _columns(table).items()
            if not _is_refused(f'UPDATE "{table}" SET "{name}" = {_VALUES[kind][1]}')
        }
        assert free == set()
        gone = {
            name
            for name in _columns(table)
            if not _is_refused(f'UPDATE "{table}" SET "{name}" = NULL')
        }
        assert gone == FACTS[table]


@pytest.mark.parametrize("table", sorted({*FACTS, *STATES} - DRAFTS))
def test_nothing_of_money_is_deleted(db, table):
    with _a_row_of(table):
        assert _is_refused(f'DELETE FROM "{table}"')


@pytest.mark.parametrize("table", sorted({*FACTS, *STATES} | {"billing_holds"}))
def test_no_table_of_money_is_emptied(db, table):
    assert _is_refused(f'TRUNCATE "{table}" CASCADE')


@pytest.mark.parametrize("table", sorted(DRAFTS))
def test_what_was_published_is_not_deleted(db, table):
    with _a_row_of(table):
        assert not _is_refused(f'DELETE FROM "{table}"')
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(f'UPDATE "{table}" SET is_published = true')
            cursor.execute("SET LOCAL session_replication_role = origin")
        assert _is_refused(f'DELETE FROM "{table}"')


@pytest.mark.parametrize(
    "table", sorted(name for name, moving in STATES.items() if moving is not None)
)
def test_only_what_moves_of_a_state_changes(db, table):
    with _a_row_of(table):
        if table == "billing_clawbacks":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL session_replication_role = replica")
                cursor.execute(f"UPDATE {table} SET state = 'standing'")
                cursor.execute("SET LOCAL session_replication_role = origin")
        free = {
            name
            for name, kind in _columns(table).items()
            if not _is_refused(f'UPDATE "{table}" SET "{name}" = {_VALUES[kind][1]}')
        }
        assert free == set(STATES[table] or ())
