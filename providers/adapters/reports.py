"""Vendors' usage and cost reports, fetched page by page with the account's separate report key.

A report is here whole or not at all. Sources: the vendors' administration APIs, as their SDKs of
November 2026 speak them; Google's is a table of BigQuery that billing data is exported to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Final
from urllib.parse import urlencode

import msgspec

from billing.types import ReportKind
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, AnswerTooLarge
from providers.adapters import bigquery
from providers.adapters.contract import Route
from providers.adapters.patience import asked
from providers.adapters.wire import decode
from providers.types import ProviderType

Page = tuple[ReportKind, bytes]
TOTAL_S: Final = 600
MOST_PAGES: Final = 200
_ANTHROPIC_VERSION: Final = "2023-06-01"
_Query = Sequence[tuple[str, str]]
_Reports = Mapping[ReportKind, tuple[str, Sequence[str]]]
_OPENAI: Final[_Reports] = {
    ReportKind.OPENAI_USAGE: (
        "/organization/usage/completions",
        ("project_id", "api_key_id", "model", "batch", "service_tier"),
    ),
    ReportKind.OPENAI_EMBEDDINGS: (
        "/organization/usage/embeddings",
        ("project_id", "api_key_id", "model"),
    ),
    ReportKind.OPENAI_COSTS: ("/organization/costs", ("project_id", "line_item")),
}
_ANTHROPIC: Final[_Reports] = {
    ReportKind.ANTHROPIC_USAGE: (
        "/v1/organizations/usage_report/messages",
        ("workspace_id", "api_key_id", "model", "service_tier"),
    ),
    ReportKind.ANTHROPIC_COSTS: (
        "/v1/organizations/cost_report",
        ("workspace_id", "description"),
    ),
}


class _More(msgspec.Struct):
    """What every page of OpenAI and Anthropic says about the next one."""

    has_more: bool = False
    next_page: str | None = None


async def fetch(route: Route, key: Secret, starts_on: date, ends_on: date) -> list[Page]:
    """All pages of the vendor's reports of the UTC days `[starts_on, ends_on)`.

    A short Retry-After is waited for. Raises `VendorError`s and the errors of `kit.egress`,
    AnswerTooLarge past 200 pages of a report, AnswerTimeout after ten minutes.
    """
    start, end = (datetime.combine(day, time.min, tzinfo=UTC) for day in (starts_on, ends_on))
    try:
        async with asyncio.timeout(TOTAL_S):
            return [page async for page in _pages(route, key, start, end)]
    except TimeoutError:
        raise AnswerTimeout from None


def _pages(route: Route, key: Secret, start: datetime, end: datetime) -> AsyncIterator[Page]:
    match route.provider_type:
        case ProviderType.GOOGLE:
            return bigquery.pages(route, key, start, end)
        case ProviderType.ANTHROPIC:
            headers = {"x-api-key": key.reveal(), "anthropic-version": _ANTHROPIC_VERSION}
            window = [("starting_at", _iso(start)), ("ending_at", _iso(end))]
            return _reports(route, _ANTHROPIC, window, headers)
    headers = {"Authorization": f"Bearer {key.reveal()}"}
    window = [("start_time", _unix(start)), ("end_time", _unix(end))]
    return _reports(route, _OPENAI, window, headers)


async def _reports(
    route: Route, reports: _Reports, window: _Query, headers: Mapping[str, str]
) -> AsyncIterator[Page]:
    for kind, (path, groups) in reports.items():
        query = [*window, ("bucket_width", "1d"), ("limit", "7")]
        query += [("group_by[]", name) for name in groups]
        async for raw in _following(route, path, query, headers):
            yield kind, raw


async def _following(
    route: Route, path: str, query: _Query, headers: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """A report's pages in order."""
    token = ""
    for _ in range(MOST_PAGES):
        paged = [*query, ("page", token)] if token else query
        raw = await asked("GET", route, f"{path}?{urlencode(paged)}", headers=headers)
        yield raw
        more = decode(raw, _More)
        if not more.has_more:
            return
        if not more.next_page or more.next_page == token:
            raise AnswerBroken
        token = more.next_page
    raise AnswerTooLarge


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _unix(moment: datetime) -> str:
    return str(int(moment.timestamp()))
