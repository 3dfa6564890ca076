"""Tables of responses that clients come back to: the answer, and each event of its stream."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Organization
from ideplatform.kit import ids
from ideplatform.kit.columns import choices, one_of
from providers.types.stored import RUNNING_STATES, ResponseState

_RUNNING = [state.value for state in RUNNING_STATES]


class StoredResponse(models.Model):
    """A response of `POST /v1/responses` with `store`, of one person in one organization.

    `input` is its own items (zstd of a JSON array), without those of `previous_id`; `answer` the
    Response object (zstd), that of the beginning until it has ended. `item_ids` are those of the
    output, by which later requests refer to them. `lease_token` is known to the process that
    writes; when `lease_until` has passed by the database's clock, the process is taken for dead,
    and the response fails (`lost_at`). `last_sequence` is the number of its last stored event.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    model = models.CharField(max_length=250)
    state = models.CharField(max_length=12, choices=choices(ResponseState))
    is_background = models.BooleanField(default=False)
    # Not a foreign key: a conversation whose earlier part was deleted must not go on as if whole.
    previous_id = models.UUIDField(null=True)
    input = models.BinaryField()
    answer = models.BinaryField()
    item_ids = ArrayField(models.CharField(max_length=200), default=list)
    last_sequence = models.BigIntegerField(default=-1)
    lease_token = models.UUIDField()
    lease_until = models.DateTimeField()
    cancel_requested_at = models.DateTimeField(null=True)
    lost_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "stored_responses"
        constraints = [
            one_of("state", ResponseState, "stored_responses_state"),
            models.CheckConstraint(
                condition=Q(state__in=_RUNNING, ended_at__isnull=True)
                | (~Q(state__in=_RUNNING) & Q(ended_at__isnull=False)),
                name="stored_responses_ended",
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], name="stored_responses_expiry"),
            models.Index(
                fields=["lease_until"],
                condition=Q(ended_at__isnull=True),
                name="stored_responses_leases",
            ),
            GinIndex(fields=["item_ids"], name="stored_responses_items"),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.state}"


class ResponseEvent(models.Model):
    """One server-sent event as the client gets it. Never changed; deleted with its response."""

    pk = models.CompositePrimaryKey("response_id", "sequence_number")
    # The database's own foreign key deletes events; Django would have to read them first.
    response = models.ForeignKey(
        StoredResponse,
        models.DO_NOTHING,
        related_name="events",
        db_constraint=False,
        db_index=False,
    )
    sequence_number = models.BigIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "response_events"

    def __str__(self) -> str:
        return f"{self.response_id} {self.sequence_number}"
