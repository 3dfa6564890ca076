"""What the reconciliation routes take, answer and refuse (see `kit.openapi`)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from billing import errors
from billing.api import reconcile
from billing.api import reconcile_serializers as forms
from billing.types import (
    BillingMode,
    Granularity,
    LineClass,
    LineStatus,
    ReconSource,
    ReconState,
)
from ideplatform.kit.errors import IdempotencyKeyReused
from ideplatform.kit.openapi import Operation, Parameter, describe


class ReconciliationRef(msgspec.Struct, kw_only=True):
    """A comparison, and where it is read."""

    run_id: UUID
    provider_id: UUID
    state: ReconState
    url: str


class Reconciliations(msgspec.Struct, kw_only=True):
    """The first comparison leads; `all` begins one for each account."""

    run_id: UUID
    state: ReconState
    url: str
    runs: list[ReconciliationRef]


class ReconciliationLine(msgspec.Struct, kw_only=True):
    """A cell: a UTC day, model, key or project, tier and class; what both sides have of it.

    Costs in USD, null where nobody knows one. `explained` is what people decided of the cell
    before. `approval_id`: a second person is asked, or was.
    """

    id: UUID
    run_id: UUID
    day: date
    model: str
    key: str
    project: str
    service_tier: str
    unit_class: str
    ours_quantity: int
    theirs_quantity: int | None
    explained_quantity: int
    estimated_quantity: int
    ours_cost: Decimal | None
    theirs_cost: Decimal | None
    explained_cost: Decimal
    line_class: LineClass = msgspec.field(name="class")
    status: LineStatus
    follows: UUID | None
    decided_by: UUID | None
    decided_at: datetime | None
    note: str
    approval_id: UUID | None
    txn_id: UUID | None


class ReconciliationLines(msgspec.Struct, kw_only=True):
    items: list[ReconciliationLine]
    next_cursor: str


class ReconciliationTotals(msgspec.Struct, kw_only=True):
    """`classes` counts the cells of each; `unbooked_cost` is what the vendor charges beyond us."""

    cells: int
    open: int
    classes: dict[str, int]
    ours_cost: Decimal
    theirs_cost: Decimal
    unbooked_cost: Decimal


class Reconciliation(msgspec.Struct, kw_only=True):
    """One comparison. `repeats` names the run that had compared the same report before."""

    id: UUID
    provider_id: UUID
    provider_type: str
    billing_mode: BillingMode
    organization_id: UUID
    account_ref: str
    from_: date = msgspec.field(name="from")
    to: date
    granularity: Granularity
    source: ReconSource
    state: ReconState
    dry_run: bool
    error: str | None
    repeats: str | None
    totals: ReconciliationTotals | None
    requested_by: UUID | None
    created_at: datetime
    compared_at: datetime | None
    lines: ReconciliationLines


describe(
    reconcile.Reconciliations,
    POST=Operation(
        "start_reconciliation",
        "Compare a vendor's report of some UTC days with our usage.",
        status=202,
        answer=Reconciliations,
        answers={200: Reconciliations},
        body=forms.ReconcileForm,
        example={
            "provider_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
            "from": "2026-11-01",
            "to": "2026-11-02",
            "source": "api",
            "granularity": "day",
            "dry_run": False,
        },
        headers=(Parameter("Idempotency-Key", str, "The same key and body are the same run."),),
        problems=(IdempotencyKeyReused, errors.NoReport, errors.ReportMalformed),
        description="For operators with the right to it, and for an organization's owner at"
        " accounts with the organization's own key, where it moves no money. `all` is every"
        " account of the platform. With `source` `upload` the pages come along. 200: the same"
        " request, or the same report, was here before.",
    ),
)
describe(
    reconcile.Reconciliation,
    GET=Operation(
        "read_reconciliation",
        "One comparison, its totals and its lines.",
        answer=Reconciliation,
        query=forms.LinesForm,
    ),
)
describe(
    reconcile.ReconciliationLine,
    POST=Operation(
        "decide_reconciliation_line",
        "Accept, ignore, adjust or dispute a line.",
        answer=ReconciliationLine,
        answers={202: ReconciliationLine},
        body=forms.DecisionForm,
        example={"action": "ignore", "note": "A test of the vendor's own console"},
        problems=(errors.LineDecided, errors.LineUnsettled, errors.NothingToAdjust),
        description="For operators with the right to it. Accepting books our own cost, adjusting"
        " credits what was charged too much; no customer is ever charged more. 202: a second person"
        " is asked first, and the line stays open.",
    ),
)
