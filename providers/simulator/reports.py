"""Usage and cost reports from the ledger, in the shapes the three vendors publish.

OpenAI: ``/v1/organization/usage/{completions,embeddings}`` and ``/costs`` (unix seconds,
float USD).
Anthropic: ``/v1/organizations/usage_report/messages`` and ``/cost_report`` (ISO time, decimal
string in cents). Google has no such HTTP API: its BigQuery export rows are served as a list.
Buckets are UTC; empty ones are listed; ``page`` counts buckets.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec

from . import usages
from .failures import invalid
from .ledger import Row
from .prices import Line, PriceList, quantities
from .report_faults import Faults
from .script import Usage

Result = dict[str, object]
WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
LIMIT_DEFAULT = {"1m": 60, "1h": 24, "1d": 7}
LIMIT_MAX = {"1m": 1_440, "1h": 168, "1d": 31}
_LINE_ITEMS = {"input": "input", "cache_read": "cached input", "output": "output",
               "output_reasoning": "output"}  # fmt: skip
_ANTHROPIC_TOKEN_TYPES = {
    "input": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which buckets a page shows."""

    start: datetime
    end: datetime
    width: str
    limit: int
    page: int  # buckets to skip

    def buckets(self) -> Iterator[tuple[datetime, datetime]]:
        step = WIDTHS[self.width]
        start = self.start + step * self.page
        for _ in range(self.limit):
            if start >= self.end:
                return
            yield start, start + step
            start += step

    @property
    def next_page(self) -> str | None:
        after = self.page + self.limit
        return f"page_{after}" if self.start + WIDTHS[self.width] * after < self.end else None


def window(
    *, start: datetime, end: datetime | None, width: str, limit: str | None, page: str | None
) -> Window:
    """A checked window, its start rounded down to a whole bucket."""
    if width not in WIDTHS:
        raise invalid(f"bucket_width: one of {', '.join(WIDTHS)}", at="bucket_width")
    step = WIDTHS[width].total_seconds()
    floor = datetime.fromtimestamp(start.timestamp() // step * step, UTC)
    wanted = int(limit) if limit and limit.isdigit() else LIMIT_DEFAULT[width]
    skipped = (page or "page_0").removeprefix("page_")
    if not skipped.isdigit():
        raise invalid("page: not a page token of this report", at="page")
    return Window(
        start=floor,
        end=end or datetime.now(UTC),
        width=width,
        limit=min(max(wanted, 1), LIMIT_MAX[width]),
        page=int(skipped),
    )


def _within(rows: Iterable[Row], start: datetime, end: datetime) -> list[Row]:
    return [row for row in rows if row.is_charged and start <= row.at < end]


_Group = tuple[str | None, str | None, str]  # model, key, service tier


def _group(row: Row, group_by: tuple[str, ...]) -> _Group:
    return (
        row.model if "model" in group_by else None,
        row.key_id if "api_key_id" in group_by else None,
        row.service_tier if {"service_tier", "batch"} & {*group_by} else "standard",
    )


def _grouped(rows: Iterable[Row], key: Callable[[Row], _Group]) -> dict[_Group, list[Row]]:
    groups: dict[_Group, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _total(rows: Iterable[Row]) -> Usage:
    fields = dict.fromkeys(Usage.__struct_fields__, 0)
    for row in rows:
        for name in fields:
            fields[name] += getattr(row.tokens, name)
    return Usage(**fields)


def openai_usage(
    rows: list[Row], shown: Window, group_by: tuple[str, ...], *, is_embeddings: bool
) -> Result:
    """``organization.usage.completions`` or ``.embeddings``."""
    kind = "embeddings" if is_embeddings else "completions"
    operations = {"embeddings"} if is_embeddings else {"chat", "responses"}
    wanted = [row for row in rows if row.vendor == "openai" and row.operation in operations]

    def key(row: Row) -> _Group:
        return _group(row, group_by)

    def results(inside: list[Row]) -> list[Result]:
        return [
            _openai_usage_result(kind, group, _total(members), len(members))
            for group, members in _grouped(inside, key).items()
        ]

    return _openai_page(wanted, shown, results)


def _openai_usage_result(kind: str, group: _Group, total: Usage, calls: int) -> Result:
    model, key_id, tier = group
    result: Result = {
        "object": f"organization.usage.{kind}.result",
        "input_tokens": total.prompt,
        "num_model_requests": calls,
        "project_id": "proj_sim",
        "user_id": None,
        "api_key_id": key_id,
        "model": model,
    }
    if kind == "completions":
        result |= {
            "input_cached_tokens": total.cache_read,
            "input_audio_tokens": 0,
            "output_tokens": total.completion,
            "output_audio_tokens": 0,
            "batch": tier == "batch",
            "service_tier": "default" if tier in ("standard", "batch") else tier,
        }
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What calls cost, planted faults included."""

    prices: PriceList
    faults: Faults

    def lines(self, rows: list[Row]) -> Iterator[tuple[Row, Line, Decimal]]:
        """Each priced class of each call, with its amount in USD."""
        for row in rows:
            factor = self.faults.factor(row.vendor, row.at.astimezone(UTC).date(), row.model)
            for line in self.prices.lines(row):
                yield row, line, line.amount_usd * factor


def openai_costs(
    rows: list[Row], shown: Window, group_by: tuple[str, ...], money: Charges
) -> Result:
    """``organization.costs``: float USD, per line item when grouped so."""
    wanted = [row for row in rows if row.vendor == "openai"]

    def results(inside: list[Row]) -> list[Result]:
        amounts: dict[str | None, tuple[Decimal, int]] = {}
        for row, line, charged in money.lines(inside):
            item = _LINE_ITEMS.get(line.token_class, "cache write")
            name = f"{row.model}, {item}" if "line_item" in group_by else None
            amount, quantity = amounts.get(name, (Decimal(0), 0))
            amounts[name] = (amount + charged, quantity + line.quantity)
        return [_openai_cost(name, *sums) for name, sums in amounts.items()]

    def given_back(day: date) -> list[Result]:
        return [_openai_cost("Credit", one, 0) for one in money.faults.credits("openai", day)]

    return _openai_page(wanted, shown, results, given_back)


def _openai_cost(name: str | None, amount: Decimal, quantity: int) -> Result:
    return {
        "object": "organization.costs.result",
        "amount": {"value": float(amount), "currency": "usd"},
        "line_item": name,
        "project_id": "proj_sim",
        "api_key_id": None,
        "quantity": float(quantity),
        "quantity_unit": None,
    }


def _nothing(_day: date) -> list[Result]:
    return []


def _openai_page(
    rows: list[Row],
    shown: Window,
    results: Callable[[list[Row]], list[Result]],
    given_back: Callable[[date], list[Result]] = _nothing,
) -> Result:
    data = [
        {
            "object": "bucket",
            "start_time": int(start.timestamp()),
            "end_time": int(end.timestamp()),
            "results": results(_within(rows, start, end)) + given_back(start.date()),
        }
        for start, end in shown.buckets()
    ]
    page = shown.next_page
    return {"object": "page", "data": data, "has_more": page is not None, "next_page": page}


def anthropic_usage(rows: list[Row], shown: Window, group_by: tuple[str, ...]) -> Result:
    """``usage_report/messages``."""

    def key(row: Row) -> _Group:
        return _group(row, group_by)

    def results(inside: list[Row]) -> list[Result]:
        groups = _grouped(inside, key)
        return [
            _anthropic_usage_result(group, _total(members)) for group, members in groups.items()
        ]

    return _anthropic_page(rows, shown, results)


def _anthropic_usage_result(group: _Group, total: Usage) -> Result:
    model, key_id, tier = group
    figures = usages.anthropic(total)
    return {
        "account_id": None,
        "api_key_id": key_id,
        "workspace_id": None,
        "model": model,
        "service_tier": tier,
        "context_window": "0-200k",
        "inference_geo": "global",
        "uncached_input_tokens": total.input,
        "cache_read_input_tokens": total.cache_read,
        "cache_creation": figures["cache_creation"],
        "output_tokens": total.completion,
        "server_tool_use": {"web_search_requests": 0},
    }


_CostKey = tuple[str, str, str] | None  # model, service tier, token type


def anthropic_costs(
    rows: list[Row], shown: Window, group_by: tuple[str, ...], money: Charges
) -> Result:
    """``cost_report``: decimal cents, per model and token type when grouped by description."""

    def results(inside: list[Row]) -> list[Result]:
        amounts: dict[_CostKey, Decimal] = {}
        for row, line, charged in money.lines(inside):
            if row.service_tier == "priority":  # this report leaves the priority tier out
                continue
            kind = _ANTHROPIC_TOKEN_TYPES.get(line.token_class, line.token_class)
            key = (row.model, row.service_tier, kind) if "description" in group_by else None
            amounts[key] = amounts.get(key, Decimal(0)) + charged * 100
        return [_anthropic_cost(key, cents) for key, cents in amounts.items()]

    def given_back(day: date) -> list[Result]:
        found = money.faults.credits("anthropic", day)
        return [_anthropic_cost(None, one * 100) | {"description": "Credit"} for one in found]

    return _anthropic_page(rows, shown, results, given_back)


def _anthropic_cost(key: _CostKey, cents: Decimal) -> Result:
    model, tier, kind = key or (None, None, None)
    return {
        "amount": f"{cents.normalize():f}",
        "currency": "USD",
        "cost_type": "tokens" if key else None,
        "token_type": kind,
        "model": model,
        "service_tier": tier,
        "context_window": "0-200k" if key else None,
        "inference_geo": "global" if key else None,
        "workspace_id": None,
        "description": f"{model} Usage - {kind}" if key else None,
    }


def _anthropic_page(
    rows: list[Row],
    shown: Window,
    results: Callable[[list[Row]], list[Result]],
    given_back: Callable[[date], list[Result]] = _nothing,
) -> Result:
    own = [row for row in rows if row.vendor == "anthropic"]
    data = [
        {
            "starting_at": _iso(start),
            "ending_at": _iso(end),
            "results": results(_within(own, start, end)) + given_back(start.date()),
        }
        for start, end in shown.buckets()
    ]
    page = shown.next_page
    return {"data": data, "has_more": page is not None, "next_page": page}


def google_rows(rows: list[Row], *, start: datetime, end: datetime, money: Charges) -> list[Result]:
    """The standard usage cost export: one row per hour, model, tier and token class.

    Credits stand apart, on the first row of their day.
    """
    sums: dict[tuple[datetime, str, str, str], tuple[Decimal, int]] = {}
    for row in _within(rows, start, end):
        if row.vendor != "google":
            continue
        hour = row.at.replace(minute=0, second=0, microsecond=0)
        charged = {line.token_class: amount for _, line, amount in money.lines([row])}
        for token_class, quantity in quantities(row).items():
            key = (hour, row.model, row.service_tier, token_class)
            amount, before = sums.get(key, (Decimal(0), 0))
            sums[key] = (amount + charged.get(token_class, Decimal(0)), before + quantity)
    found = [_google_row(*key, *total) for key, total in sorted(sums.items())]
    told = set[str]()
    for line in found:
        day = str(line["usage_start_time"])[:10]
        given_back = [] if day in told else money.faults.credits("google", date.fromisoformat(day))
        told.add(day)
        line["credits"] = [
            {"name": "Promo", "amount": float(one), "type": "PROMOTION"} for one in given_back
        ]
    return found


def bigquery_page(found: list[Result], *, page: int, limit: int) -> Result:
    """The export's rows as BigQuery answers a query for them: one JSON text per row."""
    shown = found[page * limit : (page + 1) * limit]
    answer: Result = {
        "kind": "bigquery#queryResponse",
        "jobComplete": True,
        "jobReference": {"projectId": "p-sim", "jobId": "job_sim", "location": "EU"},
        "totalRows": str(len(found)),
        "rows": [{"f": [{"v": msgspec.json.encode(row).decode()}]} for row in shown],
    }
    if (page + 1) * limit < len(found):
        answer["pageToken"] = f"page_{page + 1}"
    return answer


def _google_row(
    hour: datetime, model: str, tier: str, token_class: str, amount: Decimal, quantity: int
) -> Result:
    words = model.replace("-", " ") + ("" if tier == "standard" else f" {tier}")
    return {
        "billing_account_id": "000000-000000-000000",
        "service": {"id": "AEFD-7695-64FA", "description": "Gemini API"},
        "sku": {
            "id": f"SIM-{model}-{tier}-{token_class}",
            "description": f"Generate content {token_class} token count {words}",
        },
        "usage_start_time": _iso(hour),
        "usage_end_time": _iso(hour + timedelta(hours=1)),
        "export_time": _iso(hour + timedelta(hours=8)),
        "project": {"id": "p-sim", "number": "1"},
        "labels": [],
        "cost": float(amount),
        "currency": "USD",
        "currency_conversion_rate": 1.0,
        "usage": {
            "amount": float(quantity),
            "unit": "count",
            "amount_in_pricing_units": quantity / 1_000_000,
            "pricing_unit": "1000000 count",
        },
        "credits": [],
        "invoice": {"month": hour.strftime("%Y%m")},
        "cost_type": "regular",
        "adjustment_info": None,
    }


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
