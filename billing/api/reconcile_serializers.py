"""What the reconciliation routes accept and answer."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from rest_framework import serializers

from billing.models import ReconLine, ReconRun
from billing.services.reconcile import Asked, Asking
from billing.types import Granularity, LineAction, LineClass, LineStatus, ReconSource, ReportKind
from ideplatform.kit import ids, money, paging
from ideplatform.kit.paging import Page
from ideplatform.kit.serializers import StrictSerializer

ALL: Final = "all"
URL: Final = "/api/v1/billing/reconcile/{}"
MOST_PAGES: Final = 200
_NOTE_LENGTH: Final = 500


def _one_of(values: Any, **options: Any) -> serializers.ChoiceField:
    return serializers.ChoiceField([one.value for one in values], **options)


class PageForm(StrictSerializer):
    """A page of a report as its vendor sent it; `content` is its text, unchanged."""

    kind = _one_of(ReportKind)
    content = serializers.CharField(trim_whitespace=False)


class ReconcileForm(StrictSerializer):
    """An account (or `all` of the platform) and UTC days, `to` not included."""

    provider_id = serializers.CharField(max_length=50)
    to = serializers.DateField()
    granularity = _one_of(Granularity, required=False, default=Granularity.DAY.value)
    dry_run = serializers.BooleanField(required=False, default=False)
    pages = serializers.ListField(
        child=PageForm(), required=False, default=list, max_length=MOST_PAGES
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Two names that are taken: `from` by Python, `source` by the serializer's own base."""
        default = ReconSource.API.value
        return super().get_fields() | {
            "from": serializers.DateField(),
            "source": _one_of(ReconSource, required=False, default=default),
        }


class LinesForm(StrictSerializer):
    """Which of a run's lines are shown."""

    status = _one_of(LineStatus, required=False)
    cursor = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=paging.MAX_CURSOR_LENGTH
    )
    limit = serializers.IntegerField(
        required=False, default=paging.DEFAULT_LIMIT, min_value=1, max_value=paging.MOST
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """A name that is taken by Python."""
        return super().get_fields() | {"class": _one_of(LineClass, required=False)}


class DecisionForm(StrictSerializer):
    action = _one_of(LineAction)
    note = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=_NOTE_LENGTH
    )


def asking(form: dict[str, Any], request_key: str | None) -> Asking:
    """What a form asks to compare."""
    provider = form["provider_id"]
    return Asking(
        provider_id=None if provider == ALL else ids.parse(provider, prefix="prv"),
        starts_on=form["from"],
        ends_on=form["to"],
        source=ReconSource(form["source"]),
        granularity=Granularity(form["granularity"]),
        is_dry_run=form["dry_run"],
        pages=tuple((ReportKind(one["kind"]), one["content"].encode()) for one in form["pages"]),
        request_key=request_key,
    )


def asked(found: Sequence[Asked]) -> dict[str, object]:
    """The runs that a request began, or found; the first one leads."""
    runs = [
        {
            "run_id": one.run.pk,
            "provider_id": one.run.provider_id,
            "state": one.run.state,
            "url": URL.format(one.run.pk),
        }
        for one in found
    ]
    first = runs[0]
    return {"run_id": first["run_id"], "state": first["state"], "url": first["url"], "runs": runs}


def run(row: ReconRun, lines: Page[ReconLine]) -> dict[str, object]:
    """A comparison and some of its lines; costs in USD."""
    return {
        "id": row.pk,
        "provider_id": row.provider_id,
        "provider_type": row.provider_type,
        "billing_mode": row.billing_mode,
        "organization_id": row.organization_id,
        "account_ref": row.account_ref,
        "from": row.starts_on,
        "to": row.ends_on,
        "granularity": row.granularity,
        "source": row.source,
        "state": row.state,
        "dry_run": row.is_dry_run,
        "error": row.error or None,
        "repeats": None if row.repeats_id is None else URL.format(row.repeats_id),
        "totals": row.totals or None,
        "requested_by": row.requested_by_id,
        "created_at": row.created_at,
        "compared_at": row.compared_at,
        "lines": {
            "items": [line(one) for one in lines.items],
            "next_cursor": lines.next_cursor,
        },
    }


def line(row: ReconLine) -> dict[str, object]:
    """A cell, what both sides have of it, and what was decided."""
    return {
        "id": row.pk,
        "run_id": row.run_id,
        "day": row.day,
        "model": row.model,
        "key": row.key_ref,
        "project": row.project_ref,
        "service_tier": row.service_tier,
        "unit_class": row.unit_class,
        "ours_quantity": row.ours_quantity,
        "theirs_quantity": row.theirs_quantity,
        "explained_quantity": row.explained_quantity,
        "estimated_quantity": row.estimated_quantity,
        "ours_cost": _usd(row.ours_cost),
        "theirs_cost": _usd(row.theirs_cost),
        "explained_cost": _usd(row.explained_cost),
        "class": row.line_class,
        "status": row.status,
        "follows": row.follows_id,
        "decided_by": row.decided_by_id,
        "decided_at": row.decided_at,
        "note": row.note,
        "approval_id": row.approval_id,
        "txn_id": row.txn_id,
    }


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else money.text(amount)
