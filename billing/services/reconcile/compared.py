"""A report compared with our books: findings become lines, and replace the lines of before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing import comparison, vendor_reports
from billing.comparison import Cell, Context, Count, Finding
from billing.models import ProviderCard, ProviderReportPage, ReconLine, ReconRun
from billing.services import approvals, prices
from billing.services.reconcile import books
from billing.types import (
    UNDECIDED,
    ApprovalKind,
    LineClass,
    LineStatus,
    ReconState,
    ReportKind,
)
from billing.vendor_reports import Report
from ideplatform.kit import ids, money
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound

log = structlog.get_logger(__name__)

_DAY: Final = timedelta(days=1)
# How long after its beginning a day's report may still grow: two days, and at Google five more
# than the day itself, for rows of the export arrive that late.
SETTLES_AFTER: Final = defaultdict(lambda: 2 * _DAY, google=6 * _DAY)
REPLACED: Final = "Replaced by a later comparison."
TAKEN_BACK: Final = "The day beside it takes the difference back."


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """A report, and the account it is of; `account_ref` as in `comparison.Context`."""

    provider_id: UUID
    provider_type: str
    account_ref: str
    content: Report


def compare(day: date, report: AccountReport) -> list[Finding]:
    """What a vendor's report and our own count say of one UTC day; writes nothing."""
    findings, _ = _findings(report, day, day + _DAY)
    return findings


@transaction.atomic
def compare_run(run_id: UUID) -> int:
    """Compare a run's report with our books as they are now; how many lines that wrote.

    Repeated, it writes a line only where something changed meanwhile: usage that came late, a
    day that is complete by now, a decision. A line that changed is closed, and a new one follows.
    """
    run = locked(run_id)
    report = report_of(run)
    findings, beside = _findings(report, run.starts_on, run.ends_on)
    known = {} if run.is_dry_run else _undecided(run.provider_id, run.starts_on, run.ends_on)
    mine = _latest_of(run)
    changed = [one for one in findings if not _is_same(one, mine.get(one.cell))]
    gone = [line for cell, line in known.items() if cell not in {one.cell for one in findings}]
    _close([known[one.cell] for one in changed if one.cell in known] + gone, note=REPLACED)
    if not run.is_dry_run:
        _close([beside[cell] for cell in beside], note=TAKEN_BACK)
    ReconLine.objects.bulk_create(
        [_line(run, one, known.get(one.cell) or mine.get(one.cell)) for one in changed]
    )
    ReconRun.objects.filter(pk=run.pk).update(
        state=ReconState.DONE, totals=_totals(findings), compared_at=Now()
    )
    log.info("report.compared", run_id=str(run.pk), cells=len(findings), lines=len(changed))
    return len(changed)


def lock_account(provider_id: UUID) -> None:
    """One comparison or decision of an account at a time; raises NotFound."""
    rows = ProviderCard.objects.select_for_update(no_key=True).filter(pk=provider_id)
    if rows.first() is None:
        raise NotFound


def locked(run_id: UUID) -> ReconRun:
    """The run, and its account before it, in the order everyone uses."""
    lock_account(ReconRun.objects.values_list("provider_id", flat=True).get(pk=run_id))
    return ReconRun.objects.select_for_update().get(pk=run_id)


def report_of(run: ReconRun) -> AccountReport:
    """The report that a run has compared, or will."""
    pages = {page.pk: page for page in ProviderReportPage.objects.filter(pk__in=run.page_ids)}
    ordered = [pages[page_id] for page_id in run.page_ids]
    content = vendor_reports.read((ReportKind(page.kind), bytes(page.raw)) for page in ordered)
    return AccountReport(
        provider_id=run.provider_id,
        provider_type=run.provider_type,
        account_ref=run.account_ref,
        content=content.within(run.starts_on, run.ends_on),
    )


def finding_of(line: ReconLine) -> Finding:
    """A line as it was found."""
    return Finding(
        cell=Cell(
            day=line.day,
            model=line.model,
            key=line.key_ref,
            project=line.project_ref,
            tier=line.service_tier,
            unit_class=line.unit_class,
        ),
        ours=Count(
            quantity=line.ours_quantity, cost=line.ours_cost, estimated=line.estimated_quantity
        ),
        theirs=Count(quantity=line.theirs_quantity, cost=line.theirs_cost),
        explained=Count(quantity=line.explained_quantity, cost=line.explained_cost),
        line_class=LineClass(line.line_class),
    )


def _findings(
    report: AccountReport, starts_on: date, ends_on: date
) -> tuple[list[Finding], dict[Cell, ReconLine]]:
    """The findings of some days, and the lines around them that they take back."""
    kind = report.provider_type
    around = _undecided(report.provider_id, starts_on - _DAY, starts_on) | _undecided(
        report.provider_id, ends_on, ends_on + _DAY
    )
    book = prices.current()
    context = Context(
        provider_type=kind,
        account_ref=report.account_ref,
        settled_before=_settled_before(kind, database_now()),
        unit_price=lambda cell: books.unit_price(book, kind, cell),
        knows_model=lambda cell: books.knows_model(book, kind, cell),
        explained=_explained(report.provider_id, starts_on, ends_on),
        beside={cell: finding_of(line) for cell, line in around.items()},
    )
    ours = books.cells(report.provider_id, kind, starts_on, ends_on)
    findings = comparison.compare(ours, report.content.within(starts_on, ends_on), context)
    return findings, {cell: around[cell] for cell in comparison.beside_skewed(findings, context)}


def _settled_before(provider_type: str, now: datetime) -> date:
    """Days before this one are complete: they began long enough ago."""
    return (now.astimezone(UTC) - SETTLES_AFTER[provider_type]).date() + _DAY


def _lines(provider_id: UUID, starts_on: date, ends_on: date, condition: Q) -> list[ReconLine]:
    rows = ReconLine.objects.filter(
        condition, provider_id=provider_id, day__gte=starts_on, day__lt=ends_on, is_dry_run=False
    )
    return list(rows.order_by("pk"))


def _undecided(provider_id: UUID, starts_on: date, ends_on: date) -> dict[Cell, ReconLine]:
    lines = _lines(provider_id, starts_on, ends_on, Q(status__in=UNDECIDED))
    return {finding_of(line).cell: line for line in lines}


def _explained(provider_id: UUID, starts_on: date, ends_on: date) -> dict[Cell, Count]:
    """What people accepted or ignored of each cell: our events do not show it.

    An adjusted line is no part of it, for its corrections stand in our own count.
    """
    settled = Q(status__in=(LineStatus.ACCEPTED, LineStatus.IGNORED))
    sums: dict[Cell, list[Finding]] = defaultdict(list)
    for line in _lines(provider_id, starts_on, ends_on, settled):
        one = finding_of(line)
        sums[one.cell].append(one)
    return {
        cell: Count(
            quantity=sum(one.quantity_off for one in found),
            cost=money.total([one.unbooked for one in found]),
        )
        for cell, found in sums.items()
    }


def _latest_of(run: ReconRun) -> dict[Cell, ReconLine]:
    return {finding_of(line).cell: line for line in run.lines.order_by("pk")}


def _is_same(one: Finding, line: ReconLine | None) -> bool:
    """Whether the run has this finding already; what a person decided is not asked again."""
    if line is None:
        return False
    return finding_of(line) == one or (
        line.status not in (*UNDECIDED, LineStatus.AUTO_CLOSED)
        and one.line_class in comparison.AGREEING
    )


def _close(lines: Iterable[ReconLine], *, note: str) -> None:
    for line in lines:
        rows = ReconLine.objects.filter(pk=line.pk, status__in=UNDECIDED)
        rows.update(status=LineStatus.AUTO_CLOSED, note=note)
        approvals.void(kind=ApprovalKind.RECONCILIATION, facts={"line_id": str(line.pk)}, note=note)


def _line(run: ReconRun, one: Finding, before: ReconLine | None) -> ReconLine:
    is_open = one.line_class not in comparison.AGREEING
    line = ReconLine(
        id=ids.new(),
        run=run,
        provider_id=run.provider_id,
        is_dry_run=run.is_dry_run,
        day=one.cell.day,
        model=one.cell.model,
        key_ref=one.cell.key,
        project_ref=one.cell.project,
        service_tier=one.cell.tier,
        unit_class=one.cell.unit_class,
        ours_quantity=one.ours.quantity or 0,
        theirs_quantity=one.theirs.quantity,
        explained_quantity=one.explained.quantity or 0,
        estimated_quantity=one.ours.estimated,
        ours_cost=one.ours.cost,
        theirs_cost=one.theirs.cost,
        explained_cost=one.explained.cost or money.ZERO,
        line_class=one.line_class,
        status=LineStatus.OPEN if is_open else LineStatus.AUTO_CLOSED,
        follows=before,
    )
    if is_open and before is not None and before.status == LineStatus.DISPUTED:
        _stay_disputed(line, before)
    return line


def _stay_disputed(line: ReconLine, before: ReconLine) -> None:
    """A dispute with the vendor goes on, whatever the report says since."""
    line.status = LineStatus.DISPUTED
    line.decided_by_id, line.decided_at = before.decided_by_id, before.decided_at
    line.note = before.note


def _totals(findings: Sequence[Finding]) -> Mapping[str, object]:
    classes = Counter(one.line_class.value for one in findings)
    ours = [one.ours.cost for one in findings if one.ours.cost is not None]
    theirs = [one.theirs.cost for one in findings if one.theirs.cost is not None]
    waiting = [one for one in findings if one.line_class not in comparison.AGREEING]
    return {
        "cells": len(findings),
        "open": len(waiting),
        "classes": dict(sorted(classes.items())),
        "ours_cost": money.text(money.quantise(money.total(ours))),
        "theirs_cost": money.text(money.quantise(money.total(theirs))),
        "unbooked_cost": money.text(
            money.quantise(money.total([one.unbooked for one in findings]))
        ),
    }
