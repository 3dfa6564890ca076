"""Tables of reconciliation: vendors' reports as they came, comparisons, and their lines."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Organization
from billing.models.ledger import LedgerTxn
from billing.types import (
    UNDECIDED,
    BillingMode,
    Granularity,
    LineClass,
    LineStatus,
    ReconSource,
    ReconState,
    ReportKind,
)
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of

DECIDED_BY_PEOPLE = (
    LineStatus.ACCEPTED,
    LineStatus.IGNORED,
    LineStatus.ADJUSTED,
    LineStatus.DISPUTED,
)
WAITING = (ReconState.QUEUED, ReconState.FETCHING)


class ProviderReportPage(models.Model):
    """One page of a vendor's report, byte for byte. Never updated, never deleted.

    `sha256` is of the account, the kind and the bytes: the same page is kept once per account.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    provider_id = models.UUIDField()
    kind = models.CharField(max_length=20, choices=choices(ReportKind))
    raw = models.BinaryField()
    sha256 = models.BinaryField(max_length=32, unique=True)
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_provider_report_pages"
        constraints = [one_of("kind", ReportKind, "provider_report_pages_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.provider_id}"


class ReconRun(models.Model):
    """One comparison of a vendor's report with our usage, over the UTC days `[starts_on, ends_on)`.

    `report_digest` is known once the report is here. `next_at` is when a waiting run is looked at
    again. A dry run shows its lines and lets nobody decide them.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    provider_id = models.UUIDField()
    provider_type = models.CharField(max_length=30)
    billing_mode = models.CharField(max_length=10, choices=choices(BillingMode))
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    account_ref = models.CharField(max_length=200, blank=True, default="")
    starts_on = models.DateField()
    ends_on = models.DateField()
    granularity = models.CharField(
        max_length=5, choices=choices(Granularity), default=Granularity.DAY
    )
    source = models.CharField(max_length=6, choices=choices(ReconSource))
    state = models.CharField(max_length=8, choices=choices(ReconState), default=ReconState.QUEUED)
    is_dry_run = models.BooleanField(default=False)
    report_digest = models.BinaryField(max_length=32, null=True)
    page_ids = ArrayField(models.UUIDField(), default=list)
    repeats = models.ForeignKey("self", models.PROTECT, null=True, related_name="repetitions")
    totals = models.JSONField(default=dict)
    error = models.CharField(max_length=100, blank=True, default="")
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    requested_by_id = models.UUIDField(null=True)
    request_key = models.CharField(max_length=200, null=True)
    request_hash = models.BinaryField(max_length=32, null=True)
    created_at = models.DateTimeField(db_default=Now())
    compared_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "billing_recon_runs"
        permissions = [
            ("run_reconciliation", "Can compare vendors' reports with usage"),
            ("review_reconciliation", "Can decide what differs between reports and usage"),
        ]
        constraints = [
            one_of("billing_mode", BillingMode, "recon_runs_mode"),
            one_of("granularity", Granularity, "recon_runs_granularity"),
            one_of("source", ReconSource, "recon_runs_source"),
            one_of("state", ReconState, "recon_runs_state"),
            models.CheckConstraint(condition=Q(ends_on__gt=F("starts_on")), name="recon_runs_days"),
            models.CheckConstraint(
                condition=~Q(state=ReconState.DONE)
                | Q(report_digest__isnull=False, compared_at__isnull=False),
                name="recon_runs_done",
            ),
            models.CheckConstraint(
                condition=Q(state=ReconState.REPEATED, repeats__isnull=False)
                | (~Q(state=ReconState.REPEATED) & Q(repeats__isnull=True)),
                name="recon_runs_repeated",
            ),
            models.UniqueConstraint(
                fields=["provider_id", "starts_on", "ends_on", "granularity", "report_digest"],
                condition=Q(is_dry_run=False),
                name="recon_runs_once",
            ),
            models.UniqueConstraint(
                fields=["provider_id", "requested_by_id", "request_key", "starts_on"],
                nulls_distinct=False,
                condition=Q(request_key__isnull=False),
                name="recon_runs_request",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_at"], condition=Q(state__in=WAITING), name="recon_runs_waiting"
            ),
            models.Index(fields=["provider_id", "starts_on"], name="recon_runs_provider"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id} {self.starts_on}..{self.ends_on}"


class ReconLine(models.Model):
    """One cell: a UTC day, model, key or project, tier and class; what we and the vendor counted.

    Figures never change; a later comparison writes a new line that `follows` this one. `explained`
    is what people had decided about the cell before. Costs in USD, null where nobody knows one.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    run = models.ForeignKey(ReconRun, models.PROTECT, related_name="lines")
    provider_id = models.UUIDField()
    is_dry_run = models.BooleanField(default=False)
    day = models.DateField()
    model = models.CharField(max_length=250, blank=True, default="")
    key_ref = models.CharField(max_length=200, blank=True, default="")
    project_ref = models.CharField(max_length=200, blank=True, default="")
    service_tier = models.CharField(max_length=30, blank=True, default="")
    unit_class = models.CharField(max_length=20, blank=True, default="")
    ours_quantity = models.BigIntegerField(default=0)
    theirs_quantity = models.BigIntegerField(null=True)
    explained_quantity = models.BigIntegerField(default=0)
    estimated_quantity = models.BigIntegerField(default=0)
    ours_cost = money.amount_field(null=True)
    theirs_cost = money.amount_field(null=True)
    explained_cost = money.amount_field(default=0)
    line_class = models.CharField(max_length=20, choices=choices(LineClass), db_column="class")
    status = models.CharField(max_length=12, choices=choices(LineStatus))
    follows = models.ForeignKey("self", models.PROTECT, null=True, related_name="followers")
    decided_by_id = models.UUIDField(null=True)
    decided_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=500, blank=True, default="")
    approval_id = models.UUIDField(null=True)
    txn = models.OneToOneField(LedgerTxn, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_recon_lines"
        constraints = [
            one_of("line_class", LineClass, "recon_lines_class"),
            one_of("status", LineStatus, "recon_lines_status"),
            models.CheckConstraint(
                condition=Q(status__in=DECIDED_BY_PEOPLE, decided_by_id__isnull=False)
                & Q(decided_at__isnull=False)
                | (~Q(status__in=DECIDED_BY_PEOPLE) & Q(txn__isnull=True)),
                name="recon_lines_decided",
            ),
            # One open question per cell: a later comparison replaces an earlier one.
            models.UniqueConstraint(
                fields=[
                    "provider_id",
                    "day",
                    "model",
                    "key_ref",
                    "project_ref",
                    "service_tier",
                    "unit_class",
                ],
                condition=Q(status__in=UNDECIDED, is_dry_run=False),
                name="recon_lines_one_question",
            ),
        ]
        indexes = [
            models.Index(fields=["run", "id"], name="recon_lines_of_run"),
            models.Index(fields=["provider_id", "day"], name="recon_lines_of_day"),
            models.Index(
                fields=["status", "created_at"],
                condition=Q(status__in=UNDECIDED, is_dry_run=False),
                name="recon_lines_undecided",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model} {self.unit_class}: {self.line_class}"
