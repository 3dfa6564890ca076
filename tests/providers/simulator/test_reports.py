"""Usage and cost reports in the three vendors' shapes."""

from __future__ import annotations

import json

import pytest

from tests.fakes.simulator import ROOT
from tests.providers.simulator.conftest import anthropic_client, google_client, openai_client

SHAPES = json.loads((ROOT / "billing/data/provider_usage_report_shapes.json").read_bytes())
DAY = 1_793_491_200  # 2026-11-01T00:00Z
USAGE = {"input": 1000, "cache_read": 500, "output": 200}


def keys(value: object) -> object:
    """The shape of a JSON value: its keys all the way down."""
    if isinstance(value, dict):
        return {name: keys(inner) for name, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value else None


@pytest.fixture
def three_days(simulator):
    """Calls booked at noon of the first and the third of November 2026."""
    simulator.script("used", {"text": "x", "usage": USAGE})
    for day in ("01", "03"):
        at = {"x-sim-at": f"2026-11-{day}T12:30:00Z"}
        messages = [{"role": "user", "content": "x"}]
        openai_client(simulator, "sk-simulated:used").chat.completions.create(
            model="gpt-4o-mini", messages=messages, extra_headers=at
        )
        anthropic_client(simulator, "sk-simulated:used").messages.create(
            model="claude-haiku-4-5", max_tokens=9, messages=messages, extra_headers=at
        )
        google_client(simulator, "simulated-key:used").models.generate_content(
            model="gemini-2.5-flash", contents="x", config={"http_options": {"headers": at}}
        )
    return simulator


def test_openai_usage(three_days):
    page = three_days.call(
        "GET",
        f"/v1/organization/usage/completions?start_time={DAY}&end_time={DAY + 3 * 86_400}"
        "&group_by=model&group_by=api_key_id",
    )
    assert keys(page) == keys(SHAPES["openai_usage_completions"])
    assert [len(bucket["results"]) for bucket in page["data"]] == [1, 0, 1]
    result = page["data"][0]["results"][0]
    assert (result["input_tokens"], result["input_cached_tokens"]) == (1500, 500)
    assert (result["output_tokens"], result["num_model_requests"]) == (200, 1)
    assert (result["model"], page["has_more"]) == ("gpt-4o-mini", False)


def test_openai_costs(three_days):
    path = f"/v1/organization/costs?start_time={DAY}&end_time={DAY + 86_400}"
    total = three_days.call("GET", path)
    assert keys(total) == keys(SHAPES["openai_costs"])
    (result,) = total["data"][0]["results"]
    assert result["amount"]["value"] == pytest.approx(0.00015 + 0.0000375 + 0.00012)
    lines = three_days.call("GET", f"{path}&group_by[]=line_item")["data"][0]["results"]
    assert [line["line_item"] for line in lines] == [
        "gpt-4o-mini, input",
        "gpt-4o-mini, cached input",
        "gpt-4o-mini, output",
    ]


def test_reports_are_paged(three_days):
    path = f"/v1/organization/costs?start_time={DAY}&end_time={DAY + 3 * 86_400}&limit=2"
    first = three_days.call("GET", path)
    assert (first["has_more"], first["next_page"], len(first["data"])) == (True, "page_2", 2)
    last = three_days.call("GET", f"{path}&page=page_2")
    assert (last["has_more"], last["next_page"], len(last["data"])) == (False, None, 1)
    assert last["data"][0]["start_time"] == DAY + 2 * 86_400


def test_anthropic_usage(three_days):
    page = three_days.call(
        "GET",
        "/v1/organizations/usage_report/messages?starting_at=2026-11-01T00:00:00Z"
        "&ending_at=2026-11-02T00:00:00Z&group_by[]=model&group_by[]=api_key_id",
    )
    assert keys(page) == keys(SHAPES["anthropic_usage_report_messages"])
    (result,) = page["data"][0]["results"]
    assert (result["uncached_input_tokens"], result["cache_read_input_tokens"]) == (1000, 500)
    assert (result["output_tokens"], result["model"]) == (200, "claude-haiku-4-5")


def test_anthropic_costs_are_decimal_cents(three_days):
    page = three_days.call(
        "GET",
        "/v1/organizations/cost_report?starting_at=2026-11-01T00:00:00Z"
        "&ending_at=2026-11-02T00:00:00Z&group_by[]=description",
    )
    assert keys(page) == keys(SHAPES["anthropic_cost_report"])
    amounts = {line["token_type"]: line["amount"] for line in page["data"][0]["results"]}
    assert amounts == {
        "uncached_input_tokens": "0.1",
        "cache_read_input_tokens": "0.005",
        "output_tokens": "0.1",
    }


def test_google_rows(three_days):
    rows = three_days.call(
        "GET", "/__reports/google_bigquery_standard_rows?start=2026-11-01&end=2026-11-02"
    )
    shape = SHAPES["google_bigquery_standard_rows"][0] | {"credits": []}
    assert keys(rows[0]) == keys(shape)
    assert len(rows) == 3
    assert rows[0]["usage_start_time"] == "2026-11-01T12:00:00Z"
    assert sum(row["cost"] for row in rows) == pytest.approx(0.0003 + 0.000015 + 0.0005)


def test_refused_calls_cost_nothing_and_are_not_reported(simulator):
    simulator.script("busy", {"status": 429, "usage": USAGE})
    with pytest.raises(Exception, match="429"):
        openai_client(simulator, "sk-simulated:busy").chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "x"}],
            extra_headers={"x-sim-at": "2026-11-01T12:00:00Z"},
        )
    page = simulator.call(
        "GET",
        f"/v1/organization/usage/completions?start_time={DAY}&end_time={DAY + 86_400}",
    )
    assert page["data"][0]["results"] == []


@pytest.mark.parametrize(
    "query", ["", "start_time=x", f"start_time={DAY}&bucket_width=1y", f"start_time={DAY}&page=z"]
)
def test_a_mistaken_question_is_refused(simulator, query):
    with pytest.raises(AssertionError, match=": 400 "):
        simulator.call("GET", f"/v1/organization/costs?{query}")


def test_posted_calls_are_charged_like_made_ones(simulator):
    call: dict[str, object] = {
        "at": "2026-11-01T10:00:00Z",
        "vendor": "anthropic",
        "model": "claude-haiku-4-5",
    }
    call |= {"tokens": {"input": 1_000_000, "output": 10}, "key_id": "key_a"}
    simulator.call("POST", "/__ledger", [call, call | {"service_tier": "priority"}])
    path = "starting_at=2026-11-01T00:00:00Z&ending_at=2026-11-02T00:00:00Z"
    groups = "group_by[]=model&group_by[]=service_tier&group_by[]=api_key_id"
    usage = simulator.call("GET", f"/v1/organizations/usage_report/messages?{path}&{groups}")
    assert {one["service_tier"] for one in usage["data"][0]["results"]} == {"standard", "priority"}
    costs = simulator.call("GET", f"/v1/organizations/cost_report?{path}&group_by[]=description")
    amounts = [(one["service_tier"], one["amount"]) for one in costs["data"][0]["results"]]
    assert amounts == [("standard", "100"), ("standard", "0.005")]


def test_planted_faults_show_in_the_reports_and_wear_off(simulator):
    call = {"at": "2026-11-01T10:00:00Z", "vendor": "google", "model": "gemini-2.5-flash"}
    simulator.call("POST", "/__ledger", [call | {"tokens": {"output": 1_000}}])
    path = "/__reports/google_bigquery_standard_rows?start=2026-11-01&end=2026-11-02"
    (plain,) = simulator.call("GET", path)
    faults = [
        {"vendor": "google", "factor": "2"},
        {"vendor": "google", "day": "2026-11-01", "credit": "-0.5"},
        {"vendor": "google", "status": 429, "retry_after": 1},
    ]
    simulator.call("POST", "/__report_faults", faults)
    with pytest.raises(AssertionError, match=": 429 "):
        simulator.call("GET", path)
    (row,) = simulator.call("GET", path)
    assert row["cost"] == 2 * plain["cost"]
    assert [one["amount"] for one in row["credits"]] == [-0.5]
    simulator.reset()
    assert simulator.call("GET", path) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [("/__ledger", {}), ("/__ledger", [{"vendor": "nobody"}]), ("/__report_faults", [{"x": 1}])],
)
def test_what_is_no_fault_is_refused(simulator, path, body):
    with pytest.raises(AssertionError, match=": 400 "):
        simulator.call("POST", path, body)
