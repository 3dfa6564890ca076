"""`/billing/explorer`: usage by any two dimensions, as a table and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.types import Permission
from billing.selectors import names
from billing.selectors.summaries import Group, Point, Summary, Totals, summary
from billing.types import BillingMode, Outcome, UsageFilters
from billing.web import charts, figures, periods
from billing.web.charts import Chart, Series
from billing.web.pages import BillingPage
from billing.windows import Interval, Window
from ideplatform.kit import clock, ids, money
from ideplatform.kit.errors import InvalidInput
from ideplatform.kit.serializers import wrong

DIMENSIONS: Final[Mapping[str, Promise]] = {
    "model": gettext_lazy("Model"),
    "agent": gettext_lazy("Agent"),
    "workspace": gettext_lazy("Workspace"),
    "user": gettext_lazy("Person"),
    "provider": gettext_lazy("Provider"),
    "api_key": gettext_lazy("API key"),
    "day": gettext_lazy("Day"),
    "hour": gettext_lazy("Hour"),
}
MODES: Final[Mapping[str, Promise]] = {
    BillingMode.PLATFORM: gettext_lazy("paid with credit"),
    BillingMode.BYOK: gettext_lazy("own vendor keys"),
    BillingMode.FREE: gettext_lazy("free"),
}
OUTCOMES: Final[Mapping[str, Promise]] = {
    Outcome.OK: gettext_lazy("answered"),
    Outcome.CLIENT_CANCELLED: gettext_lazy("cancelled"),
    Outcome.PROVIDER_ERROR: gettext_lazy("failed at the vendor"),
    Outcome.TIMEOUT: gettext_lazy("timed out"),
    Outcome.CRASH_RECOVERED: gettext_lazy("recovered after a crash"),
}
MOST_ROWS: Final = 200
MOST_SERIES: Final = charts.PATTERNS - 1
MOST_COLUMNS: Final = 400
_PARTS: Final = tuple(part.name for part in fields(Totals))
_TIMES: Final = ("day", "hour")
_IDS: Final = ("workspace_id", "user_id", "api_key_id", "provider_id")
_TEXTS: Final = ("model", "agent_id", "billing_mode", "outcome")
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the form asks, and how it fills itself again."""

    range: str
    window: Window
    by: tuple[str, ...]
    chosen: Mapping[str, str]

    @property
    def days(self) -> tuple[str, str]:
        first, last = periods.days_of(self.window)
        return first.isoformat(), last.isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a name per dimension, and the sums."""

    names: tuple[str, ...]
    totals: Totals


class Explorer(BillingPage):
    """Sums of what the reader may see, exactly those of `GET /api/v1/billing/summary`."""

    permissions = {"GET": Permission.BILLING_VIEW}
    section = "/billing/explorer"

    def get(self, request: HttpRequest) -> HttpResponse:
        question, fault = self._question(request), None
        context: dict[str, Any] = {}
        try:
            context = self._answer(question)
        except InvalidInput as refused:
            fault = refused
        place_id = None if self.place is None else self.place.id
        context |= {
            "question": question,
            "fault": fault,
            "ranges": periods.RANGES,
            "dimensions": DIMENSIONS,
            "modes": MODES,
            "outcomes": OUTCOMES,
            "choices": names.choices(self.viewer.reach, place_id),
        }
        response = self.parts("billing/explorer.html", "billing/_explorer.html", context)
        response.status_code = 200 if fault is None else fault.status
        return response

    def _question(self, request: HttpRequest) -> Question:
        asked = request.GET
        chosen = {name: asked[name][:_LONGEST] for name in (*_IDS, *_TEXTS) if asked.get(name, "")}
        name = asked.get("range", "month")
        window = periods.window(name, asked.get("from", ""), asked.get("to", ""), self.zone)
        by = [one for one in (asked.get("by", "model"), asked.get("then", "")) if one]
        return Question(range=name, window=window, by=_dimensions(by), chosen=chosen)

    def _answer(self, question: Question) -> dict[str, Any]:
        """The sums of one statement: rows of the table, and columns of the chart."""
        filters = self._filters(question)
        grouped = question.by
        if len(grouped) == 1 and grouped[0] not in _TIMES:
            grouped = (*grouped, _interval(question.window))
        found = summary(self.actor, question.window, filters=filters, group_by=grouped)
        labels = _labels(found.groups)
        rows = _rows(found, question.by, labels)
        return {
            "found": found,
            "rows": rows[:MOST_ROWS],
            "left_out": max(0, len(rows) - MOST_ROWS),
            "headings": [DIMENSIONS[name] for name in question.by],
            "points": [(_point_name(point, found), point) for point in found.series],
            "chart": self._chart(found, question.by, labels),
            "csv": f"/api/v1/billing/usage?{urlencode(_csv(filters))}",
        }

    def _filters(self, question: Question) -> UsageFilters:
        chosen: dict[str, Any] = dict(question.chosen)
        for name in _IDS:
            if name in chosen:
                chosen[name] = ids.parse(chosen[name])
        _check_words(chosen)
        window = question.window
        if self.workspace_id is not None:
            chosen["workspace_id"] = self.workspace_id
        return self.filters(**({"start": window.start, "end": window.end} | chosen))

    def _chart(
        self, found: Summary, by: Sequence[str], labels: Mapping[object, str]
    ) -> Chart | None:
        if len(found.series) > MOST_COLUMNS:
            return None
        precision = self.viewer.preferences.precision
        is_split = len(by) == 1 and by[0] not in _TIMES
        series = _split(found, by[0], labels) if is_split else [_whole(found)]
        return charts.stacked(
            [_point_name(point, found) for point in found.series],
            series,
            amount=lambda amount: figures.usd(amount, precision),
        )


def _dimensions(names_: Sequence[str]) -> tuple[str, ...]:
    if unknown := [one for one in names_ if one not in DIMENSIONS]:
        raise wrong("/by", f"{unknown[0]} is none of {', '.join(DIMENSIONS)}")
    if len(set(names_)) < len(names_) or set(_TIMES) <= set(names_):
        return tuple(names_[:1])
    return tuple(names_)


def _check_words(chosen: Mapping[str, Any]) -> None:
    for name, known in (("billing_mode", MODES), ("outcome", OUTCOMES)):
        if chosen.get(name, next(iter(known))) not in known:
            raise wrong(f"/{name}", f"one of {', '.join(known)}")


def _interval(window: Window) -> str:
    return "hour" if window.length <= timedelta(days=2) else "day"


def _labels(groups: Sequence[Group]) -> dict[object, str]:
    """The names of every id among the groups."""
    found: dict[object, str] = {}
    by_dimension: dict[str, set[UUID]] = {}
    for group in groups:
        for dimension, value in group.key:
            if isinstance(value, UUID):
                by_dimension.setdefault(dimension, set()).add(value)
    for dimension, wanted in by_dimension.items():
        found |= names.of(dimension, wanted)
    return found


def _rows(found: Summary, by: Sequence[str], labels: Mapping[object, str]) -> list[Row]:
    """Groups folded to the dimensions asked for, the dearest first, times in their order."""
    folded: dict[tuple[object, ...], Totals] = {}
    for group in found.groups:
        values = dict(group.key)
        key = tuple(values[name] for name in by)
        folded[key] = _sum(folded.get(key, Totals()), group.totals)
    rows = [
        (key, Row(names=tuple(map(_naming(labels), key)), totals=sums))
        for key, sums in folded.items()
    ]
    if by[0] in _TIMES:
        rows.sort(key=lambda pair: (str(pair[0][0]), -pair[1].totals.estimated_cost, str(pair[0])))
    else:
        rows.sort(key=lambda pair: (-pair[1].totals.estimated_cost, str(pair[0])))
    return [row for _key, row in rows]


def _naming(labels: Mapping[object, str]) -> Any:
    return lambda value: labels.get(value) or (str(value) if value else _("(none)"))


def _sum(one: Totals, other: Totals) -> Totals:
    """Both together, to the last place."""
    sums = {name: _added(getattr(one, name), getattr(other, name)) for name in _PARTS}
    return Totals(**sums)


def _added(one: Any, other: Any) -> Any:
    return money.total([one, other]) if isinstance(one, Decimal) else one + other


def _split(found: Summary, dimension: str, labels: Mapping[object, str]) -> list[Series]:
    """The dearest groups, one kind of bar each, and all others as the last."""
    columns = {point.span.key: number for number, point in enumerate(found.series)}
    amounts: dict[object, list[Decimal]] = {}
    for group in found.groups:
        values = dict(group.key)
        time = next(values[name] for name in _TIMES if name in values)
        bars = amounts.setdefault(values[dimension], [Decimal(0)] * len(columns))
        bars[columns[str(time)]] += group.totals.estimated_cost
    ranked = sorted(amounts, key=lambda key: (-sum(amounts[key]), str(key)))
    first, rest = ranked[:MOST_SERIES], ranked[MOST_SERIES:]
    name = _naming(labels)
    series = [Series(name=name(key), amounts=amounts[key]) for key in first]
    if rest:
        others = [sum((amounts[key][n] for key in rest), Decimal(0)) for n in range(len(columns))]
        series.append(Series(name=_("Others"), amounts=others))
    return series


def _whole(found: Summary) -> Series:
    amounts = [point.totals.estimated_cost for point in found.series]
    return Series(name=_("Cost"), amounts=amounts)


def _point_name(point: Point, found: Summary) -> str:
    local = point.span.start.astimezone(found.window.zone)
    if found.interval is Interval.HOUR:
        return date_format(local, "H:i")
    return date_format(local, "j M" if found.window.length > timedelta(days=31) else "j")


def _csv(filters: UsageFilters) -> dict[str, str]:
    """The same question for the list of calls."""
    renamed = {"start": "from", "end": "to"}
    asked = {"format": "csv"}
    for part in fields(filters):
        value = getattr(filters, part.name)
        if value is not None:
            text = clock.rfc3339(value) if part.name in renamed else str(value)
            asked[renamed.get(part.name, part.name)] = text
    return asked
