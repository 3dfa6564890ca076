"""The audit log is written once and never changed."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import AuditEvent
from accounts.services import audit
from tests import factories
from tests.accounts.rest import bearer, call, signed_in

pytestmark = pytest.mark.django_db


def _run(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def _partitions() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'audit_events'::regclass ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET outcome = 'ok'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "TRUNCATE audit_events_default",
    ],
)
def test_an_event_is_never_changed(statement):
    audit.record(action="thing.done", outcome=audit.DENIED)
    with pytest.raises(DatabaseError, match="append-only"):
        _run(statement)
    assert AuditEvent.objects.get().outcome == "denied"


def test_a_single_months_partition_is_protected_too():
    audit.record(action="thing.done")
    month = next(name for name in _partitions() if name != "audit_events_default")
    for statement in (f"TRUNCATE {month}", f"DELETE FROM {month}", f"UPDATE {month} SET action=''"):
        with pytest.raises(DatabaseError, match="append-only"):
            _run(statement)
    assert AuditEvent.objects.count() == 1


def test_the_application_role_may_only_add_and_read():
    audit.record(action="thing.done")
    _run("CREATE ROLE audit_probe; GRANT INSERT, SELECT ON audit_events TO audit_probe")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE audit_probe")
    audit.record(action="thing.seen")
    assert AuditEvent.objects.count() == 2
    for statement in (
        "UPDATE audit_events SET action = ''",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "DROP TABLE audit_events",
        "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    ):
        with pytest.raises(DatabaseError):
            _run(statement)
    audit.extend_partitions()  # functions of the owner: the role needs no more rights
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    assert AuditEvent.objects.count() == 2


def test_the_coming_months_have_partitions_and_making_them_again_changes_nothing():
    before = _partitions()
    assert len(before) == 1 + 1 + audit.MONTHS_AHEAD
    audit.extend_partitions()
    assert _partitions() == before


def test_a_partition_past_four_hundred_days_goes_and_a_younger_one_stays():
    with connection.cursor() as cursor:
        for month in ("2020-01-01", "2020-02-01"):
            cursor.execute(
                "SELECT format('CREATE TABLE audit_events_%%s PARTITION OF audit_events"
                " FOR VALUES FROM (%%L) TO (%%L)', to_char(%s::date, 'YYYY_MM'), %s::date,"
                " %s::date + interval '1 month')",
                [month] * 3,
            )
            cursor.execute(cursor.fetchone()[0])
    kept = [name for name in _partitions() if "2020" not in name]
    audit.extend_partitions()
    assert _partitions() == kept


def test_details_are_allow_listed():
    with pytest.raises(ValueError, match="password"):
        audit.record(action="thing.done", details={"password": "x"})
    assert AuditEvent.objects.count() == 0


def test_an_organizations_log_is_read_page_by_page_and_no_other():
    owner, pair = signed_in()
    mine, other = factories.an_organization(owner), factories.an_organization()
    for number in range(3):
        audit.record(action=f"thing.{number}", organization_id=mine.pk)
    audit.record(action="thing.foreign", organization_id=other.pk)
    path = f"organizations/{mine.pk}/audit"
    first = call("GET", f"{path}?limit=2", **bearer(pair.access)).json()
    rest = call(
        "GET", f"{path}?limit=2&cursor={first['next_cursor']}", **bearer(pair.access)
    ).json()
    assert [e["action"] for e in first["items"] + rest["items"]] == [
        "thing.2",
        "thing.1",
        "thing.0",
    ]
    assert rest["next_cursor"] == ""


def test_an_event_says_who_where_and_in_which_request():
    _, pair = signed_in()
    headers = bearer(pair.access) | {"X_Request_Id": "request-of-logout"}
    call("POST", "auth/logout", ip="192.0.2.77", **headers)
    event = AuditEvent.objects.get(action="session.closed")
    assert (event.actor_id, event.session_id) == (pair.user_id, pair.session_id)
    assert (event.ip, event.request_id) == ("192.0.2.77", "request-of-logout")
