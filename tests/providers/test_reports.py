"""Vendors' reports, fetched on the wire and compared with what was used."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings

from accounts.models import AuditEvent, SecretRecord
from billing.models import ProviderReportPage, ReconRun, UsageEvent
from billing.services import reconcile, usage
from billing.services.reconcile import Asking
from billing.types import TokenCount, UnitClass
from ideplatform.kit.crypto import Secret
from ideplatform.kit.db import database_now
from providers import tasks
from providers.models import Provider
from providers.services import reports
from providers.simulator import credentials
from tests.billing.calls import a_call
from tests.billing.funds import a_customer
from tests.providers.builders import a_provider, base_url

pytestmark = pytest.mark.usefixtures("paid_door")
KEY = "sk-admin-simulated-0001"
VENDORS = ("openai", "anthropic", "google")
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}
FIRST = date(2026, 10, 1)
MONTH = [FIRST + timedelta(days=days) for days in range(31)]
END = FIRST + timedelta(days=31)
CLASSES = {
    "openai": ("input", "cache_read", "output", "output_reasoning"),
    "anthropic": ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"),
    "google": ("input", "cache_read", "output", "output_reasoning"),
}


def an_account(vendor: str, *, report_key: str | None = KEY, **values: Any) -> Provider:
    """An account of the platform whose reports the simulator gives."""
    config: dict[str, Any] = {}
    if vendor == "google":
        url = settings.ENV.simulated_provider_url
        config = {"report_url": url, "report_table": "p-sim.billing.export"}
    secret = None if report_key is None else Secret(report_key)
    return a_provider(vendor, models=(), config=config, report_key=secret, **values)


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def quantities(vendor: str, number: int) -> dict[str, int]:
    """Tokens of the call of a number: no two alike, and worth cents to dollars."""
    return {
        name: 10_000 + 7_919 * number + 104_729 * place
        for place, name in enumerate(CLASSES[vendor])
    }


def traffic(vendor: str, days: list[date]) -> list[dict[str, Any]]:
    """Three calls a day."""
    return [
        {"at": at(day, 8 * part + 3), "vendor": vendor, "model": MODELS[vendor], "tokens": tokens}
        for index, day in enumerate(days)
        for part in range(3)
        for tokens in [quantities(vendor, 3 * index + part)]
    ]


def booked(account: Provider, calls: list[dict[str, Any]], **facts: Any) -> None:
    """The calls as our own gateway settled them."""
    customer = a_customer(paid="100000")
    records = [
        a_call(
            customer,
            provider_id=account.pk,
            provider_type=account.type,
            requested_model=call["model"],
            served_model=call["model"],
            occurred_at=call["at"],
            tokens=TokenCount({UnitClass(name): n for name, n in call["tokens"].items()}),
            **facts,
        )
        for call in calls
    ]
    usage.settle_many(records)


def charged(simulator, calls: list[dict[str, Any]]) -> None:
    """The calls as the vendor counted them."""
    posted = [call | {"at": call["at"].isoformat()} for call in calls]
    simulator.call("POST", "/__ledger", posted)


def pages_of(account: Provider) -> Any:
    return ProviderReportPage.objects.filter(provider_id=account.pk)


def month_of(account: Provider, **values: Any) -> ReconRun:
    """Ask for the comparison of the month, and let the task bring the report."""
    asking = Asking(provider_id=account.pk, starts_on=FIRST, ends_on=END, **values)
    (asked,) = reconcile.request(asking=asking, actor=None)
    tasks.fetch_report({"run_id": str(asked.run.pk)})
    return ReconRun.objects.get(pk=asked.run.pk)


def open_lines(run: ReconRun) -> set[tuple[str, str]]:
    """Class and day of each line that waits."""
    return {(one.line_class, one.day.isoformat()) for one in run.lines.filter(status="open")}


def classes(run: ReconRun) -> set[str]:
    return set(run.lines.values_list("line_class", flat=True))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_clean_month_opens_nothing_and_again_is_the_same(paid_door, vendor):
    account = an_account(vendor)
    calls = traffic(vendor, MONTH)
    booked(account, calls)
    charged(paid_door, calls)
    run = month_of(account)
    assert (run.state, run.error, open_lines(run)) == ("done", "", set())
    assert classes(run) <= {"match", "rounding"}
    assert {line.day for line in run.lines.all()} == {*MONTH}
    off = Decimal(run.totals["unbooked_cost"])
    assert abs(off) < Decimal("0.000001")
    before = (run.lines.count(), pages_of(account).count())
    again = month_of(account)
    assert (again.state, again.repeats) == ("repeated", run)
    assert (run.lines.count(), pages_of(account).count()) == before


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_planted_fault_lands_in_its_class(paid_door, vendor):
    account = an_account(vendor)
    calls = traffic(vendor, MONTH)
    booked(account, calls)
    lost, moved = calls[3 * 4], calls[3 * 10]
    ledger = [call for call in calls if call not in (lost, moved)]
    extra = calls[3 * 7] | {"tokens": quantities(vendor, 500)}
    unknown = extra | {"model": "gemini-99-secret", "at": at(MONTH[15])}
    ledger += [extra, unknown, moved | {"at": moved["at"] + timedelta(days=1)}]
    charged(paid_door, ledger)
    faults = [
        {"vendor": vendor, "day": "2026-10-21", "factor": "1.10"},
        {"vendor": vendor, "day": "2026-10-25", "credit": "-5.25"},
        {"vendor": vendor, "day": "2026-10-28", "factor": "1.001"},
    ]
    paid_door.call("POST", "/__report_faults", faults)
    run = month_of(account)
    found = open_lines(run)
    assert found == {
        ("phantom_usage", "2026-10-05"),
        ("missing_usage", "2026-10-08"),
        ("unknown_model", "2026-10-16"),
        ("price_drift", "2026-10-21"),
        ("credit_or_discount", "2026-10-25"),
    }
    skewed = run.lines.filter(line_class="boundary_skew")
    assert {line.day.isoformat() for line in skewed} == {"2026-10-11", "2026-10-12"}
    assert {line.day.day for line in run.lines.filter(line_class="rounding")} >= {28}
    credit = run.lines.get(line_class="credit_or_discount")
    assert credit.theirs_cost == Decimal("-5.25")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_long_report_comes_in_pages(paid_door, vendor):
    account = an_account(vendor)
    hours = [
        {"at": at(day, hour), "vendor": vendor, "model": MODELS[vendor], "tokens": tokens}
        for number, (day, hour) in enumerate((d, h) for d in MONTH for h in range(24))
        for tokens in [quantities(vendor, number)]
    ]
    charged(paid_door, hours)
    run = month_of(account)
    expected = {"openai": 5 + 5 + 5, "anthropic": 5 + 5, "google": 2}[vendor]
    assert (run.state, len(run.page_ids)) == ("done", expected)
    assert pages_of(account).count() == expected
    told = sum(line.theirs_quantity or 0 for line in run.lines.all())
    assert told == sum(sum(one["tokens"].values()) for one in hours)


def test_unpriced_late_and_foreign_are_told_apart(paid_door):
    ours = credentials.identity("sk-ours")
    account = an_account("openai", external_account_ref=ours)
    today = database_now().date()
    late = {"at": at(today - timedelta(days=1)), "vendor": "openai", "model": "gpt-4o-mini"}
    late |= {"tokens": {"input": 5_000}}
    odd = {"at": at(FIRST), "vendor": "openai", "model": "gpt-nobody-prices"}
    odd |= {"tokens": {"input": 7_000}}
    booked(account, [odd])
    mine = [call | {"key_id": ours} for call in (late, odd)]
    other = odd | {"model": "gpt-4o-mini", "key_id": "key_of_another_team"}
    charged(paid_door, [*mine, other])
    run = month_of(account)
    lines = {(line.model, line.key_ref): line.line_class for line in run.lines.all()}
    assert lines == {
        ("gpt-nobody-prices", ours): "unpriced",
        ("gpt-4o-mini", "key_of_another_team"): "foreign_traffic",
    }
    asking = Asking(provider_id=account.pk, starts_on=today - timedelta(days=1), ends_on=today)
    (asked,) = reconcile.request(asking=asking, actor=None)
    reports.fetch(asked.run.pk)
    assert open_lines(asked.run) == {("late", str(today - timedelta(days=1)))}


def test_batch_and_priority_tiers_are_cells_of_their_own(paid_door):
    account = an_account("anthropic")
    calls = traffic("anthropic", MONTH[:2])
    booked(account, calls)
    charged(paid_door, calls)
    tiered = {"at": at(FIRST, 5), "vendor": "anthropic", "model": "claude-haiku-4-5"}
    tiered |= {"tokens": {"input": 3_000}}
    for tier in ("batch", "priority"):
        booked(account, [tiered], service_tier=tier)
        charged(paid_door, [tiered | {"service_tier": tier}])
    run = month_of(account)
    cells = {
        line.service_tier: (line.line_class, line.theirs_quantity, line.theirs_cost is None)
        for line in run.lines.filter(day=FIRST, unit_class="input")
    }
    assert cells["batch"] == ("match", 3_000, False)
    assert cells["priority"][1:] == (3_000, True)


def test_a_busy_vendor_is_waited_for_and_a_page_after_many_is_not_lost(paid_door):
    account = an_account("openai")
    charged(paid_door, traffic("openai", MONTH[:1]))
    paid_door.call(
        "POST",
        "/__report_faults",
        [{"vendor": "openai", "status": 429, "retry_after": 0, "times": 2, "after_pages": 1}],
    )
    assert month_of(account).state == "done"
    asked = [one["path"] for one in paid_door.requests()]
    assert all("chat" not in path for path in asked)


@pytest.mark.parametrize(
    ("fault", "state", "error"),
    [
        ({"status": 429, "retry_after": 600}, "queued", "provider_rate_limited"),
        ({"status": 500, "times": 9}, "queued", "provider_failed"),
        ({"malformed": True, "times": 9}, "queued", "bad_protocol"),
        ({"status": 401}, "failed", "provider_bad_key"),
        ({"status": 403}, "failed", "provider_access_denied"),
    ],
)
def test_half_a_report_leaves_nothing_behind(paid_door, fault, state, error):
    account = an_account("openai")
    calls = traffic("openai", MONTH[:2])
    booked(account, calls)
    charged(paid_door, calls)
    planted = {"vendor": "openai", "after_pages": 2} | fault
    paid_door.call("POST", "/__report_faults", [planted])
    run = month_of(account)
    assert (run.state, run.error) == (state, error)
    assert (run.lines.count(), pages_of(account).count()) == (0, 0)


def test_a_postponed_report_is_brought_when_its_time_has_come(paid_door):
    account = an_account("openai")
    charged(paid_door, traffic("openai", MONTH[:1]))
    asking = Asking(provider_id=account.pk, starts_on=FIRST, ends_on=END)
    (asked,) = reconcile.request(asking=asking, actor=None)
    tasks.resume_reports()
    asked.run.refresh_from_db()
    assert asked.run.state == "done"
    assert not reports.fetch(asked.run.pk)


def test_without_a_key_for_reports_there_is_none(paid_door):
    account = an_account("openai", report_key=None)
    run = month_of(account)
    assert (run.state, run.error) == ("failed", "report_key_missing")


def test_the_report_key_is_its_own_and_opens_nothing_else(paid_door):
    account = an_account("openai")
    secrets = SecretRecord.objects.filter(provider__contains=str(account.pk))
    report = secrets.get(provider=f"provider:{account.pk}:report")
    assert (secrets.count(), account.report_secret_id) == (2, report.pk)
    month_of(account)
    ids = [str(one.pk) for one in secrets]
    opened = AuditEvent.objects.filter(action="secret.opened", target__in=ids)
    assert [(one.target, one.details["purpose"]) for one in opened] == [
        (str(report.pk), "provider_report")
    ]
    assert UsageEvent.objects.filter(provider_id=account.pk).count() == 0


def test_a_service_account_signs_for_its_token(paid_door):
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    key = {
        "type": "service_account",
        "client_email": "reader@p-sim.iam.example",
        "private_key": pem,
        "token_uri": f"{base_url('google')}/oauth2/token",
    }
    account = an_account("google", report_key=json.dumps(key))
    calls = traffic("google", MONTH[:2])
    booked(account, calls)
    charged(paid_door, calls)
    run = month_of(account)
    assert (run.state, run.totals["open"], run.totals["cells"] > 0) == ("done", 0, True)
    broken = an_account("google", report_key=json.dumps(key | {"private_key": "no key"}))
    assert month_of(broken).error == "provider_bad_key"


def test_each_day_is_asked_for_once_a_day(paid_door):
    accounts = [an_account("openai"), an_account("google")]
    accounts.append(an_account("anthropic", report_key=None))
    tasks.schedule_reports()
    today = database_now().date()
    runs = ReconRun.objects.filter(provider_id__in=[one.pk for one in accounts])
    days = [
        (run.provider_type, (today - run.starts_on).days, (run.ends_on - run.starts_on).days)
        for run in runs
    ]
    assert sorted(days) == [
        *(("google", back, 1) for back in range(1, 7)),
        *(("openai", back, 1) for back in (1, 2)),
    ]
    tasks.schedule_reports()
    assert runs.count() == 8
