"""Tables of exports: a long list of usage on its way to its owner, piece by piece."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.types import ExportState
from ideplatform.kit import ids
from ideplatform.kit.columns import choices, one_of

ENDED = [ExportState.DONE.value, ExportState.FAILED.value]


class Export(models.Model):
    """Usage events as CSV, written by a worker; only who asked may read it.

    `filters` are those of the list, with texts for values. A worker owns a running job until
    `lease_until` (database clock); `fence` grows with every owner, and only the newest may end it.
    `problem` is the problem object of a failed one. Gone after `expires_at`.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    api_key_id = models.UUIDField(null=True)
    filters = models.JSONField(default=dict)
    digest = models.BinaryField(max_length=32)
    state = models.CharField(
        max_length=10, choices=choices(ExportState), default=ExportState.QUEUED.value
    )
    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    rows = models.PositiveBigIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.BinaryField(max_length=32, null=True)
    problem = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_exports"
        constraints = [
            one_of("state", ExportState, "exports_state"),
            models.UniqueConstraint(
                fields=["user", "digest"],
                condition=~Q(state__in=ENDED),
                name="exports_one_active",
            ),
            models.CheckConstraint(
                condition=Q(state__in=ENDED, finished_at__isnull=False, expires_at__isnull=False)
                | (~Q(state__in=ENDED) & Q(finished_at__isnull=True) & Q(expires_at__isnull=True)),
                name="exports_finished",
            ),
            models.CheckConstraint(
                condition=~Q(state=ExportState.DONE.value) | Q(sha256__isnull=False),
                name="exports_digested",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="exports_of_user"),
            models.Index(
                fields=["expires_at"],
                condition=Q(expires_at__isnull=False),
                name="exports_expiring",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class ExportChunk(models.Model):
    """A piece of an export's bytes, in order; whole lines."""

    export = models.ForeignKey(Export, models.CASCADE, related_name="chunks", db_index=False)
    no = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "billing_export_chunks"
        constraints = [models.UniqueConstraint(fields=["export", "no"], name="export_chunks_no")]

    def __str__(self) -> str:
        return f"{self.export_id} {self.no}"
