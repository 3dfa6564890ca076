"""Monthly statements: opening + lines = closing, closed once, never changed."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from accounts.services import sessions
from accounts.types import OrganizationRole, Permission
from billing import tasks
from billing.models import Customer, LedgerTxn, Statement
from billing.selectors import statements as reads
from billing.services import ledger, statements, usage, verification
from billing.types import BillingMode, LotKind
from ideplatform.kit import clock
from tests.billing.calls import SIMULATOR, a_call, publish, usd
from tests.billing.funds import a_customer, give
from tests.factories import a_user, an_actor, join_organization
from tests.house import matrix
from tests.house.matrix import Route

HERE = "/api/v1/billing/statements"
P = Permission
MONTH = f"{clock.now():%Y-%m}"
SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)


def _open(world):
    return {"month": MONTH}


ROUTES = [
    Route("GET", HERE + "?organization_id={organization_id}", P.BILLING_VIEW, at="organization"),
    Route(
        "GET",
        HERE + "/{month}?organization_id={organization_id}",
        P.BILLING_VIEW,
        at="organization",
        prepare=_open,
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


class Book:
    """A customer whose money moves on days of our choosing."""

    def __init__(self):
        publish(SIMULATOR)
        self.team = a_customer()
        Customer.objects.filter(pk=self.team.pk).update(
            created_at=datetime(2026, 8, 31, 23, 59, tzinfo=UTC)
        )
        self.owner = a_user()
        join_organization(self.team, self.owner, OrganizationRole.OWNER)
        self.web = client(self.owner)

    def on(self, moment: datetime):
        """The block's transactions were begun at `moment`."""
        return _Backdated(moment)

    def read(self, month: str, **query: str):
        return self.web.get(f"{HERE}/{month}", {"organization_id": str(self.team.pk)} | query)


class _Backdated:
    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def __enter__(self) -> None:
        self._before = list(LedgerTxn.objects.values_list("pk", flat=True))

    def __exit__(self, *failed: object) -> None:
        new = LedgerTxn.objects.exclude(pk__in=self._before).values_list("pk", flat=True)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(
                "UPDATE billing_ledger_txns SET created_at = %s WHERE id = ANY(%s)",
                [self._moment, list(new)],
            )
            cursor.execute("SET LOCAL session_replication_role = DEFAULT")


def client(user) -> Client:
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


@pytest.fixture
def book(db):
    return Book()


def a_day(month: int, day: int = 15, **clock_time: int) -> datetime:
    return datetime(2026, month, day, **clock_time, tzinfo=UTC)


def a_busy_autumn(book) -> None:
    with book.on(a_day(9)):
        give(book.team, usd("10"))
        give(book.team, usd("0.002"), kind=LotKind.PROMO)
        usage.settle(a_call(book.team))  # 0.0014, of the promotional credit
        usage.settle(a_call(book.team))  # 0.0006 of it, 0.0008 paid
        usage.settle(a_call(book.team, requested_model="sim-coder", served_model="sim-coder"))
    with book.on(a_day(10)):
        past = ledger.Grant(expires_at=a_day(10, 14))
        give(book.team, usd("5"), kind=LotKind.PROMO, grant=past)
        ledger.expire_lots()
        usage.settle(a_call(book.team))
        usage.settle(a_call(book.team, billing_mode=BillingMode.BYOK))


def test_a_month_opens_with_what_the_one_before_left(book):
    a_busy_autumn(book)
    first = book.read("2026-09").json()
    second = book.read("2026-10").json()
    coder = usd(next(x for x in first["lines"] if x["model"] == "sim-coder")["amount"])
    assert first["opening"] == "0.000000000000"
    assert [(x["kind"], x["model"], x["count"], usd(x["amount"])) for x in first["lines"]] == [
        ("promo", "", 1, usd("0.002")),
        ("topup", "", 1, usd("10")),
        ("usage", "sim-coder", 1, coder),
        ("usage", "sim-echo", 2, -usd("0.0028")),
    ]
    assert usd(first["closing"]) == usd("10.002") - usd("0.0028") + coder
    assert second["opening"] == first["closing"]
    assert [(x["kind"], x["count"], usd(x["amount"])) for x in second["lines"]] == [
        ("expiry", 1, -5),
        ("promo", 1, 5),
        ("usage", 1, -usd("0.0014")),
    ]
    assert usd(second["closing"]) == usd(first["closing"]) - usd("0.0014")
    echo = first["lines"][3]
    assert (echo["tokens_input"], echo["tokens_output"]) == (2_000, 400)


def test_the_present_month_is_live_and_a_month_to_come_unknown(book):
    a_busy_autumn(book)
    give(book.team, usd("1"))
    now = book.read(MONTH).json()
    assert (now["is_closed"], now["sha256"], now["closed_at"]) == (False, None, None)
    assert usd(now["closing"]) == usd(now["opening"]) + 1
    later = reads.after(reads.first_of(clock.now()))
    for unknown in (f"{later:%Y-%m}", "2026-07", "1999-01", "2026-13", "2026-1", "month"):
        assert book.read(unknown).status_code == 404


def test_an_organization_that_never_had_money_has_an_empty_month(db):
    owner = a_user()
    answer = client(owner).get(f"{HERE}/{MONTH}").json()
    assert (answer["opening"], answer["lines"], answer["closing"]) == (
        "0.000000000000",
        [],
        "0.000000000000",
    )
    assert client(owner).get(HERE).json()["items"] == []


def test_closed_months_are_written_once_and_say_what_was_read_before(book):
    a_busy_autumn(book)
    open_ones = [book.read(month).json() for month in ("2026-09", "2026-10")]
    assert statements.close_due(now=a_day(11, 1, minute=15)) == 3
    assert statements.close_due(now=a_day(11, 1, minute=16)) == 0
    tasks.close_statements()
    closed = [book.read(month).json() for month in ("2026-09", "2026-10")]
    for before, after in zip(open_ones, closed, strict=True):
        assert before["lines"] == after["lines"]
        assert (before["opening"], before["closing"]) == (after["opening"], after["closing"])
        assert after["is_closed"]
    listed = book.web.get(HERE, {"organization_id": str(book.team.pk)}).json()["items"]
    assert [one["month"] for one in listed] == ["2026-10", "2026-09", "2026-08"]
    assert [one["sha256"] for one in listed[:2]] == [one["sha256"] for one in reversed(closed)]
    assert verification.breaches() == []


def test_a_month_is_not_closed_before_its_last_transactions_have_ended(book):
    a_busy_autumn(book)
    assert statements.close_due(now=a_day(10, 1, minute=14)) == 1
    assert not Statement.objects.filter(month=SEPTEMBER).exists()
    assert statements.close_due(now=a_day(10, 1, minute=15)) == 1
    assert Statement.objects.filter(month=SEPTEMBER).exists()


def test_what_is_committed_late_is_on_the_next_statement(book):
    a_busy_autumn(book)
    statements.close_due(now=a_day(10, 2))
    september = book.read("2026-09").json()
    with book.on(a_day(9, 30, hour=23)):
        give(book.team, usd("3"))
    statements.close_due(now=a_day(11, 2))
    october = book.read("2026-10").json()
    assert book.read("2026-09").json() == september
    assert october["opening"] == september["closing"]
    assert usd(october["closing"]) == usd(september["closing"]) + 3 - usd("0.0014")
    assert verification.breaches() == []


def test_the_hash_is_of_everything_it_says(book):
    a_busy_autumn(book)
    statements.close_due(now=a_day(11, 2))
    row = Statement.objects.get(month=SEPTEMBER)
    again = reads.figures(book.team.pk, SEPTEMBER, now=clock.now())
    assert bytes(row.sha256) == reads.digest(again) == reads.digest(reads.stored(row))
    others = {bytes(one.sha256) for one in Statement.objects.filter(customer=book.team.pk)}
    assert len(others) == 3
    row.closing += Decimal("1e-12")
    assert reads.digest(reads.stored(row)) != bytes(row.sha256)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_statements SET closing = closing + 1",
        "DELETE FROM billing_statements",
        "TRUNCATE billing_statements",
    ],
)
def test_a_closed_month_never_changes(book, statement):
    statements.close_due(now=a_day(10, 2))
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Statement.objects.filter(customer=book.team.pk).count() == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("closing = closing + 1", "its lines"),
        ("opening = opening + 1, closing = closing + 1", "the one before"),
        ("wallet_seq = wallet_seq + 1", "the wallets"),
    ],
)
def test_a_statement_that_says_something_else_is_named(book, change, told):
    a_busy_autumn(book)
    statements.close_due(now=a_day(11, 2))
    row = Statement.objects.get(month=OCTOBER)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"UPDATE billing_statements SET {change} WHERE id = %s", [row.pk])
    found = [breach for breach in verification.breaches() if breach.code == "I13"]
    assert any(str(row.pk) in one.row and told in one.row for one in found), found


def test_as_csv_the_lines_stand_between_opening_and_closing(book):
    a_busy_autumn(book)
    answer = book.read("2026-09", format="csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))
    told = book.read("2026-09").json()
    assert (rows[0]["kind"], rows[-1]["kind"]) == ("opening", "closing")
    assert sum(usd(row["amount"]) for row in rows[:-1]) == usd(rows[-1]["amount"])
    assert [row["amount"] for row in rows[1:-1]] == [line["amount"] for line in told["lines"]]


def test_a_selector_reads_for_an_actor_alone(book):
    a_busy_autumn(book)
    found = reads.statement(an_actor(book.owner), SEPTEMBER, book.team.pk)
    assert found.figures.opening + sum(line.amount for line in found.figures.lines) == (
        found.figures.closing
    )
    foreign = client(a_user()).get(f"{HERE}/2026-09", {"organization_id": str(book.team.pk)})
    assert foreign.status_code == 404


def test_months_end_in_utc(book):
    with book.on(a_day(9, 30, hour=23, minute=59, second=59)):
        give(book.team, usd("1"))
    with book.on(a_day(10, 1)):
        give(book.team, usd("2"))
    assert usd(book.read("2026-09").json()["closing"]) == 1
    assert usd(book.read("2026-10").json()["closing"]) == 3


def test_months_without_any_movement_follow_too(book):
    with book.on(a_day(9)):
        give(book.team, usd("1"))
    assert statements.close_due(now=a_day(12, 2)) == 4
    november = Statement.objects.get(month=date(2026, 11, 1))
    assert (november.opening, november.lines, november.closing) == (1, [], 1)
    assert november.closed_at - clock.now() < timedelta(minutes=1)
