"""Vendors' report pages, read exactly."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from billing import vendor_reports
from billing.types import ReportKind, UnitClass
from billing.vendor_reports import Charge, Malformed, Usage, folded
from tests.billing.reports import DAY, SHAPES, page, seconds

K, U = ReportKind, UnitClass


def read(kind: ReportKind, raw: bytes | str):
    return vendor_reports.read([(kind, raw if isinstance(raw, bytes) else raw.encode())])


def quantities(usages: tuple[Usage, ...]) -> dict[str, int]:
    return {one.unit_class.value: one.quantity for one in usages}


def test_openai_usage_takes_the_cache_out_of_the_input():
    report = read(K.OPENAI_USAGE, page("openai_usage_completions"))
    assert quantities(report.usages) == {"input": 1_086, "cache_read": 17_817, "output": 320}
    first = report.usages[0]
    assert (first.day, first.model) == (DAY, "gpt-4o-mini-2024-07-18")
    assert (first.key, first.project, first.tier) == ("key_1", "proj_1", "default")


@pytest.mark.parametrize("digits", ["0.0015", "0.1000000000000000055511151231257827", "1.5e-3"])
def test_openai_costs_are_the_digits_that_were_sent(digits):
    raw = page("openai_costs").decode().replace("0.0015", digits)
    (charge,) = read(K.OPENAI_COSTS, raw).charges
    assert charge == Charge(
        day=DAY,
        amount=Decimal(digits),
        label="gpt-4o-mini-2024-07-18, input",
        project="proj_1",
        model="gpt-4o-mini-2024-07-18",
        unit_class=U.INPUT,
    )


@pytest.mark.parametrize(
    ("item", "model", "tier", "unit_class"),
    [
        ("gpt-5, input", "gpt-5", None, U.INPUT),
        ("gpt-5, cached input", "gpt-5", None, U.CACHE_READ),
        ("gpt-5, cache write", "gpt-5", None, U.INPUT),
        ("gpt-5, output", "gpt-5", None, U.OUTPUT),
        ("gpt-5, batch, output", "gpt-5", "batch", U.OUTPUT),
        ("gpt-4o-audio, audio input", "gpt-4o-audio", None, U.AUDIO_INPUT),
        ("gpt-4o-audio, audio output", "gpt-4o-audio", None, U.AUDIO_OUTPUT),
        ("Web search tool calls", None, None, U.WEB_SEARCH),
        ("assistants api | file search", None, None, None),
        ("", None, None, None),
    ],
)
def test_openais_line_items_say_model_and_class(item, model, tier, unit_class):
    raw = page("openai_costs").decode().replace("gpt-4o-mini-2024-07-18, input", item)
    (charge,) = read(K.OPENAI_COSTS, raw).charges
    assert (charge.model, charge.tier, charge.unit_class) == (model, tier, unit_class)


def test_anthropic_usage_counts_caches_apart():
    report = read(K.ANTHROPIC_USAGE, page("anthropic_usage_report_messages"))
    assert quantities(report.usages) == {
        "input": 1_012,
        "cache_read": 9_842,
        "cache_write_5m": 500,
        "cache_write_1h": 1_000,
        "output": 400,
    }
    assert (report.usages[0].key, report.usages[0].project) == ("apikey_1", "")


def test_anthropic_costs_are_cents():
    tokens, search = read(K.ANTHROPIC_COSTS, page("anthropic_cost_report")).charges
    assert (tokens.amount, tokens.model, tokens.unit_class, tokens.tier) == (
        Decimal("1.2378912"),
        "claude-sonnet-4-5",
        U.INPUT,
        "standard",
    )
    assert (search.amount, search.model, search.unit_class) == (Decimal("0.5"), None, U.WEB_SEARCH)


def test_googles_rows_say_usage_charge_and_credit():
    report = read(K.GOOGLE_ROWS, page("google_bigquery_standard_rows"))
    (used,) = report.usages
    assert (used.model, used.unit_class, used.quantity) == ("gemini-2.5-flash", U.INPUT, 1_040)
    assert (used.day, used.project, used.tier) == (DAY, "p-1", "standard")
    assert [(one.amount, one.label) for one in report.charges] == [
        (Decimal("0.000312"), "Generate content input token count gemini 2.5 flash"),
        (Decimal("-0.0001"), "Promo"),
    ]


@pytest.mark.parametrize(
    ("description", "model", "unit_class", "tier"),
    [
        ("Generate content output token count gemini 2.5 pro", "gemini-2.5-pro", U.OUTPUT, None),
        (
            "Generate content cached input token count for gemini 2.5 flash batch",
            "gemini-2.5-flash",
            U.CACHE_READ,
            "batch",
        ),
        (
            "Generate_content text output token count for gemini 2.5 flash thinking text output",
            "gemini-2.5-flash",
            U.OUTPUT,
            None,
        ),
        (
            "Embed content input token count gemini embedding 001",
            "gemini-embedding-001",
            U.INPUT,
            None,
        ),
    ],
)
def test_googles_sku_names_model_and_class_in_words(description, model, unit_class, tier):
    row = SHAPES["google_bigquery_standard_rows"][0]
    row = row | {"sku": {"id": "1", "description": description}}
    (used,) = read(K.GOOGLE_ROWS, json.dumps([row], default=float)).usages
    assert (used.model, used.unit_class, used.tier) == (model, unit_class, tier or "standard")


def test_bigquerys_answer_holds_the_same_rows():
    (row,) = SHAPES["google_bigquery_standard_rows"]
    rows: list[dict[str, Any]] = [{"f": [{"v": json.dumps(row, default=float)}]}]
    answer = json.dumps({"jobComplete": True, "rows": rows})
    plain = read(K.GOOGLE_ROWS, page("google_bigquery_standard_rows"))
    assert read(K.GOOGLE_ROWS, answer) == plain


def test_another_currency_is_converted_by_the_rows_own_rate():
    row = SHAPES["google_bigquery_standard_rows"][0] | {"currency": "BRL", "cost": Decimal("0.54")}
    row = row | {"currency_conversion_rate": Decimal("5.4"), "credits": []}
    (charge,) = read(K.GOOGLE_ROWS, json.dumps([row], default=float)).charges
    assert charge.amount == Decimal("0.1")
    with pytest.raises(Malformed):
        read(K.GOOGLE_ROWS, json.dumps([row | {"currency_conversion_rate": None}], default=float))


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (K.OPENAI_USAGE, b"not json"),
        (K.OPENAI_USAGE, b'{"data": 3}'),
        (K.OPENAI_USAGE, b'{"data": [{"start_time": -1, "results": []}]}'),
        (
            K.OPENAI_USAGE,
            b'{"data":[{"start_time":1,"results":[{"input_tokens":1,"input_cached_tokens":2}]}]}',
        ),
        (K.OPENAI_COSTS, page("openai_costs").replace(b'"usd"', b'"eur"')),
        (K.OPENAI_COSTS, page("openai_costs").replace(b"0.0015", b'"NaN"')),
        (K.OPENAI_COSTS, page("openai_costs").replace(b"0.0015", b"1e400")),
        (K.ANTHROPIC_COSTS, page("anthropic_cost_report").replace(b"123.78912", b"Infinity")),
        (K.ANTHROPIC_USAGE, b'{"data": [{"starting_at": "yesterday", "results": []}]}'),
        (K.GOOGLE_ROWS, page("google_bigquery_standard_rows").replace(b"1040.0", b"1040.5")),
        (K.GOOGLE_ROWS, b'{"rows": [{"f": []}]}'),
        (K.OPENAI_USAGE, b"[" * 100_000),
    ],
)
def test_what_is_no_such_page_is_refused(kind, raw):
    with pytest.raises(Malformed):
        read(kind, raw)


def test_days_are_those_of_utc():
    raw = json.dumps(
        {"data": [{"start_time": seconds(date(2026, 3, 1)) - 1, "results": [{"output_tokens": 1}]}]}
    )
    assert [one.day for one in read(K.OPENAI_USAGE, raw).usages] == [date(2026, 2, 28)]
    row = SHAPES["google_bigquery_standard_rows"][0]
    row = row | {"usage_start_time": "2026-11-01T23:30:00-07:00"}
    (used,) = read(K.GOOGLE_ROWS, json.dumps([row], default=float)).usages
    assert used.day == date(2026, 11, 2)


def test_a_window_keeps_its_days_only():
    report = read(K.OPENAI_USAGE, page("openai_usage_completions"))
    assert report.within(DAY, date(2026, 11, 2)) == report
    assert report.within(date(2026, 11, 2), date(2026, 11, 3)).usages == ()


@pytest.mark.parametrize(
    ("vendor", "ours", "theirs"),
    [
        ("openai", U.OUTPUT_REASONING, U.OUTPUT),
        ("openai", U.CACHE_WRITE_30M, U.INPUT),
        ("anthropic", U.CACHE_WRITE_5M, U.CACHE_WRITE_5M),
        ("google", U.TOOL_INPUT, U.INPUT),
        ("anthropic", U.WEB_SEARCH, U.WEB_SEARCH),
    ],
)
def test_our_classes_are_added_up_as_the_vendors_are(vendor, ours, theirs):
    assert folded(vendor, ours) is theirs
