"""Prices are drafted, published once, and never overlap in time."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, connection, transaction
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange

from billing import price_files
from billing.errors import PriceJump, PriceVersionConflict
from billing.models import ModelAlias, Price, PriceVersion
from billing.pricing import Model
from billing.services import price_versions, prices
from billing.types import ApprovalKind, UnitClass
from ideplatform.kit import clock, ids
from tests.billing.calls import NOON, a_list, publish, usd
from tests.billing.console.people import approved

pytestmark = pytest.mark.django_db


def unit_price(name: str = "a", *, at=NOON):
    model = Model(provider_type="openai", name=name, at=at)
    price = prices.current().resolve(model, UnitClass.INPUT, total_input=1)
    return price and price.unit_price


def soon():
    return clock.now() + timedelta(days=1)


def test_the_shipped_lists_are_published_once_and_priced():
    assert prices.ensure_published() == 1
    assert prices.ensure_published() is None
    assert PriceVersion.objects.count() == 1
    assert unit_price("gpt-4o-mini") == usd("0.00000015")
    assert price_versions.compare(prices.shipped()).is_empty


def test_the_first_version_holds_for_all_time_before():
    publish(a_list(a="0.000001"))
    assert unit_price(at=NOON - timedelta(days=3_650)) == usd("0.000001")


def test_a_new_price_begins_where_the_old_one_ends():
    publish(a_list(a="0.000001"))
    start = soon()
    assert publish(a_list(a="0.0000015"), effective_from=start) == 2
    assert unit_price(at=start - timedelta(microseconds=1)) == usd("0.000001")
    assert unit_price(at=start) == usd("0.0000015")
    old, new = Price.objects.filter(unit_class="input").order_by("version__number")
    assert new.supersedes_id == old.pk
    assert old.effective.upper == new.effective.lower == start


def test_a_version_of_which_nothing_holds_any_more_is_retired():
    publish(a_list(a="0.000001", b="0.000001"))
    publish(a_list(a="0.0000011"))
    assert list(PriceVersion.objects.order_by("number").values_list("state", flat=True)) == [
        "published",
        "published",
    ]
    publish(a_list(b="0.0000011"))
    assert PriceVersion.objects.get(number=1).state == "retired"


def test_a_list_that_changes_nothing_makes_no_version():
    publish(a_list(a="0.000001"))
    listed = price_files.read({"same.json": a_list(a="0.0000010")})
    assert price_versions.draft(listed=listed, note="") is None
    assert PriceVersion.objects.count() == 1


def test_an_alias_may_be_given_and_moved():
    publish(a_list(a="0.000001", b="0.000002", aliases={"openai": {"ours": "a"}}))
    assert unit_price("ours") == usd("0.000001")
    start = soon()
    publish(a_list(aliases={"openai": {"ours": "b"}}), effective_from=start)
    assert unit_price("ours") == usd("0.000001")
    assert unit_price("ours", at=start) == usd("0.000002")
    assert ModelAlias.objects.count() == 2


def test_a_draft_prices_nothing():
    listed = price_files.read({"a.json": a_list(a="0.000001")})
    assert price_versions.draft(listed=listed, note="")
    assert unit_price() is None


def test_a_version_is_published_once():
    publish(a_list(a="0.000001"))
    version = PriceVersion.objects.get()
    with pytest.raises(PriceVersionConflict):
        price_versions.publish(version_id=version.pk)
    with pytest.raises(PriceVersionConflict):
        price_versions.publish(version_id=ids.new())


def test_prices_never_begin_in_the_past():
    publish(a_list(a="0.000001"))
    with pytest.raises(PriceVersionConflict):
        publish(a_list(a="0.0000011"), effective_from=clock.now() - timedelta(minutes=1))
    assert unit_price() == usd("0.000001")


def test_a_change_before_a_planned_one_is_refused():
    publish(a_list(a="0.000001"))
    publish(a_list(a="0.0000011"), effective_from=soon())
    with pytest.raises(PriceVersionConflict):
        publish(a_list(a="0.0000012"))
    assert PriceVersion.objects.filter(state="published").count() == 2


@pytest.mark.parametrize("price", ["0.0000016", "0.0000006", "0"])
def test_a_price_that_jumps_needs_a_word(price):
    publish(a_list(a="0.000001"))
    with pytest.raises(PriceJump) as refused, transaction.atomic():
        publish(a_list(a=price))
    assert refused.value.errors[0].pointer == "/openai/a/standard/input"
    assert unit_price() == usd("0.000001")
    publish(a_list(a=price), accepts_jumps=True)
    assert Price.objects.filter(is_published=True, unit_price=price).exists()


@pytest.mark.parametrize("price", ["0.001", "0.000000001"])
def test_a_factor_of_a_thousand_is_a_typo_whatever_is_said(price):
    publish(a_list(a="0.000001"))
    with pytest.raises(PriceJump), transaction.atomic():
        publish(a_list(a=price), accepts_jumps=True)
    assert unit_price() == usd("0.000001")


def test_a_price_per_million_tokens_never_enters_the_book():
    listed = price_files.read({"a.json": a_list(new="0.0025")})
    with pytest.raises(IntegrityError, match="prices_per_token"), transaction.atomic():
        price_versions.draft(listed=listed, note="")
    assert not Price.objects.exists()


def test_no_shipped_price_times_a_million_would_be_accepted():
    cheapest = min(price for price in prices.shipped().prices.values() if price)
    assert cheapest * 1_000_000 > usd("0.002")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_prices SET unit_price = unit_price * 2",
        "UPDATE billing_prices SET is_published = false",
        "UPDATE billing_prices SET effective = tstzrange(NULL, now() - interval '1 s')",
        "UPDATE billing_prices SET effective = tstzrange(now() - interval '9 d', now())",
        "UPDATE billing_prices SET effective = tstzrange(NULL, now()), unit_price = 0",
        "DELETE FROM billing_prices",
        "TRUNCATE billing_prices CASCADE",
        "UPDATE billing_model_aliases SET model = 'b'",
        "DELETE FROM billing_model_aliases",
        "TRUNCATE billing_model_aliases",
    ],
)
def test_what_is_published_never_changes(statement):
    publish(a_list(a="0.000001", aliases={"openai": {"ours": "a"}}))
    before = [list(table.objects.values()) for table in (Price, ModelAlias)]
    connection.check_constraints()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert [list(table.objects.values()) for table in (Price, ModelAlias)] == before


def test_a_price_cannot_enter_published():
    publish(a_list(a="0.000001"))
    row = Price.objects.filter(unit_class="input").get()
    row.pk, row.pattern = ids.new(), "other"
    with pytest.raises(IntegrityError, match="draft"), transaction.atomic():
        row.save(force_insert=True)


def a_twin(row: Price, **columns: object) -> Price:
    """The same price again, in another version that takes effect beside the rules of services."""
    version = PriceVersion.objects.create()
    approved(ApprovalKind.PRICES, version_id=str(version.pk))
    PriceVersion.objects.filter(pk=version.pk).update(
        state="published", number=99, published_at=NOON
    )
    values = {f.attname: getattr(row, f.attname) for f in Price._meta.concrete_fields}
    changed = {"id": ids.new(), "version_id": version.pk, "is_published": False}
    return Price.objects.create(**(values | changed | columns))


@pytest.mark.parametrize("start_days", [None, -1, 1])
def test_the_database_refuses_prices_that_overlap(start_days):
    publish(a_list(a="0.000001"))
    start = None if start_days is None else NOON + timedelta(days=start_days)
    row = Price.objects.get(unit_class="input")
    twin = a_twin(row, effective=DateTimeTZRange(start, NOON + timedelta(days=2)))
    with pytest.raises(IntegrityError, match="prices_never_overlap"), transaction.atomic():
        Price.objects.filter(pk=twin.pk).update(is_published=True)
    assert unit_price() == usd("0.000001")


@pytest.mark.parametrize(
    "columns",
    [
        {"pattern": "a,"},
        {"provider_type": "google"},
        {"service_tier": "batch"},
        {"region": "eu"},
        {"context_over_tokens": 1},
        {"unit_class": "cache_read"},
        {"match": "glob"},
    ],
)
def test_prices_of_different_keys_do_not_overlap(columns):
    publish(a_list(a="0.000001"))
    twin = a_twin(Price.objects.get(unit_class="input"), **columns)
    Price.objects.filter(pk=twin.pk).update(is_published=True)
    assert Price.objects.filter(is_published=True, unit_price=usd("0.000001")).count() == 4


def test_a_draft_needs_no_time_and_a_published_price_does():
    publish(a_list(a="0.000001"))
    twin = a_twin(Price.objects.get(unit_class="input"), effective=None)
    with pytest.raises(IntegrityError, match="prices_effective"), transaction.atomic():
        Price.objects.filter(pk=twin.pk).update(is_published=True)


def test_the_command_shows_the_difference_and_publishes_once(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(a_list(a="0.000001"))
    assert "+ openai a standard input 0.000001" in run("--file", path)
    assert not PriceVersion.objects.exists()
    assert "Published price version 1." in run("--file", path, "--publish")
    assert "Nothing to do" in run("--file", path, "--publish")
    path.write_text(a_list(a="0.0000012"))
    assert "~ openai a standard input 0.000001000000000 -> 0.0000012" in run(
        "--file", path, "--draft"
    )
    assert PriceVersion.objects.filter(state="draft").count() == 1
    assert unit_price() == usd("0.000001")


def test_the_command_names_what_it_refuses(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(a_list(a="0.000001").replace("input_cost_per_token", "input_cost_per_tokn"))
    with pytest.raises(CommandError, match="models/a/input_cost_per_tokn: unknown"):
        run("--file", path, "--publish")
    with pytest.raises(CommandError, match="could not be read"):
        run("--file", tmp_path / "none.json")
    with pytest.raises(CommandError):
        run("--publish", "--effective-from", "2026-01-01T00:00:00")
    assert not PriceVersion.objects.exists()


def run(*arguments: object) -> str:
    out = StringIO()
    call_command("import_prices", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_an_impossible_amount_is_refused_by_its_column():
    version = PriceVersion.objects.create()
    row = {"version": version, "provider_type": "openai", "match": "exact", "pattern": "a"}
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        Price.objects.create(**row, unit_class="request", unit_price=usd("-1"))
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        Price.objects.create(**row, unit_class="request", unit_price=usd("10000000000"))
