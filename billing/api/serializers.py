"""What billing's REST accepts and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request

from billing.api import money_serializers
from billing.forecasting import Forecast
from billing.models import UsageEvent
from billing.selectors import Filled, Funds
from billing.selectors.summaries import GROUPS, TIMES, Group, Point, Summary, Totals
from billing.sheets import USAGE_COLUMNS
from billing.types import BillingMode, Outcome, Source, UsageFilters
from billing.windows import Window, between, of_period, this_month, zone_of
from ideplatform.kit import clock, money, paging
from ideplatform.kit.errors import InvalidInput
from ideplatform.kit.serializers import StrictSerializer, wrong

MOST_ROWS = 500
_IDS = (
    "organization_id",
    "workspace_id",
    "user_id",
    "provider_id",
    "api_key_id",
    "conversation_id",
    "run_id",
    "request_id",
)


def cursor_field() -> serializers.CharField:
    return serializers.CharField(
        required=False, default="", allow_blank=True, max_length=paging.MAX_CURSOR_LENGTH
    )


def limit_field(most: int) -> serializers.IntegerField:
    return serializers.IntegerField(
        required=False, default=paging.DEFAULT_LIMIT, min_value=1, max_value=most
    )


class FilterForm(StrictSerializer):
    """The filters that the list and the summary share."""

    organization_id = serializers.UUIDField(required=False)
    workspace_id = serializers.UUIDField(required=False)
    user_id = serializers.UUIDField(required=False)
    provider_id = serializers.UUIDField(required=False)
    api_key_id = serializers.UUIDField(required=False)
    conversation_id = serializers.UUIDField(required=False)
    run_id = serializers.UUIDField(required=False)
    request_id = serializers.UUIDField(required=False)
    agent_id = serializers.CharField(required=False, max_length=100)
    model = serializers.CharField(required=False, max_length=200)
    status = serializers.IntegerField(required=False, min_value=0, max_value=999)
    outcome = serializers.ChoiceField([one.value for one in Outcome], required=False)
    billing_mode = serializers.ChoiceField([one.value for one in BillingMode], required=False)
    min_cost = serializers.DecimalField(30, 12, required=False, min_value=Decimal(0))
    to = serializers.DateTimeField(required=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Two names that are taken: `from` by Python, `source` by the serializer's own base."""
        sources = [one.value for one in Source]
        return super().get_fields() | {
            "from": serializers.DateTimeField(required=False),
            "source": serializers.ChoiceField(sources, required=False),
        }


class UsageForm(FilterForm):
    cursor = cursor_field()
    limit = limit_field(MOST_ROWS)
    format = serializers.ChoiceField(["json", "csv"], required=False)


class SummaryForm(FilterForm):
    period = serializers.CharField(required=False, max_length=20)
    tz = serializers.CharField(required=False, default="UTC", max_length=64)
    group_by = serializers.CharField(required=False, default="", allow_blank=True, max_length=100)
    compare = serializers.ChoiceField(["previous"], required=False)


def query(form: type[StrictSerializer], request: Request) -> dict[str, Any]:
    """The validated query string; a parameter given twice is refused."""
    sent = request.query_params
    for name, values in sent.lists():
        if len(values) > 1:
            raise wrong(f"/{name}", "Give this once.")
    reader = form(data=sent.dict())
    reader.is_valid(raise_exception=True)
    validated: dict[str, Any] = reader.validated_data
    return validated


def filters(asked: dict[str, Any]) -> UsageFilters:
    names = UsageFilters.__dataclass_fields__.keys() & asked.keys()
    return UsageFilters(**{name: asked[name] for name in names})


def usage_filters(asked: dict[str, Any]) -> UsageFilters:
    """The list's filters: its window has no need of an end."""
    return filters(asked | {"start": asked.get("from"), "end": asked.get("to")})


def window(asked: dict[str, Any]) -> Window:
    """The summary's window: a named period, two moments, or this month; raises InvalidInput."""
    zone = zone_of(asked["tz"])
    start, end = asked.get("from"), asked.get("to")
    if "period" in asked:
        if start or end:
            raise wrong("/period", "Give a period, or from and to.")
        return of_period(asked["period"], zone)
    if start and end:
        return between(start, end, zone)
    if start or end:
        raise wrong("/to" if start else "/from", "Give from and to together.")
    return this_month(clock.now(), zone)


def group_by(asked: dict[str, Any]) -> list[str]:
    """At most two different dimensions, one of them in time; raises InvalidInput."""
    names = [name for name in asked["group_by"].split(",") if name]
    known = [*GROUPS, *TIMES]
    if unknown := [name for name in names if name not in known]:
        raise wrong("/group_by", f"{unknown[0]} is none of {', '.join(known)}")
    if len(names) > 2 or len(set(names)) < len(names) or set(TIMES) <= set(names):
        raise _too_many()
    return names


def _too_many() -> InvalidInput:
    return wrong("/group_by", "At most two different dimensions, and one of day and hour.")


def event(row: UsageEvent) -> dict[str, object]:
    """One event: its columns, its token classes and priced lines."""
    columns: dict[str, object] = {name: getattr(row, name) for name in USAGE_COLUMNS}
    return columns | {
        "organization_id": row.customer_id,
        "quantities": row.quantities,
        "lines": row.lines,
        "price_version_id": row.price_version_id,
    }


def summary(
    found: Summary, funds: Funds | None = None, budgets: Sequence[Filled] = ()
) -> dict[str, object]:
    """The summary; costs are decimal strings, moments UTC, days and hours the zone's own.

    `balance` is null and `budgets` empty where the caller sees no one organization's money.
    """
    body: dict[str, object] = {
        "period": _window(found.window),
        "currency": "USD",
        "totals": _totals(found.totals),
        "groups": [_group(group) for group in found.groups],
        "interval": found.interval.value,
        "series": [_point(point) for point in found.series],
        "budgets": [money_serializers.budget_in_summary(one) for one in budgets],
        "balance": None if funds is None else money_serializers.balance(funds),
        "forecast": _forecast(found.forecast),
        "as_of": found.as_of,
        "exact": True,
    }
    if found.previous is not None and found.previous_window is not None:
        body["previous"] = {
            "period": _window(found.previous_window),
            "totals": _totals(found.previous),
        }
    return body


def _window(shown: Window) -> dict[str, object]:
    return {"name": shown.label, "from": shown.start, "to": shown.end, "tz": shown.zone.key}


def _totals(totals: Totals) -> dict[str, object]:
    return {
        name: money.text(value) if isinstance(value, Decimal) else value
        for name, value in asdict(totals).items()
    }


def _forecast(forecast: Forecast) -> dict[str, object]:
    return {
        "low": money.text(forecast.low),
        "mid": money.text(forecast.mid),
        "high": money.text(forecast.high),
        "method": forecast.method,
    }


def _group(group: Group) -> dict[str, object]:
    key = {name: str(value) if isinstance(value, UUID) else value for name, value in group.key}
    return key | _totals(group.totals)


def _point(point: Point) -> dict[str, object]:
    span = point.span
    return {"key": span.key, "from": span.start, "to": span.end} | _totals(point.totals)
