"""Tables of sums: usage by hour and by day, made from the events and always remakeable.

A row sums what `usage_effective` has of its hour or day (UTC), up to the watermark. Without
foreign keys: they are derived, and written for every call.
"""

from __future__ import annotations

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from billing.types import RollupDimension
from ideplatform.kit import money
from ideplatform.kit.columns import choices, one_of


class Xid8Field(models.Field):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A transaction's number, which never wraps around; decimal text in Python."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "xid8"

    def get_prep_value(self, value: object) -> str | None:
        return None if value is None else str(value)


class Sums(models.Model):
    """What is summed. Costs are USD; `failed_requests` had an error, a timeout or a crash."""

    requests = models.BigIntegerField()
    failed_requests = models.BigIntegerField()
    unpriced_requests = models.BigIntegerField()
    tokens_input = models.BigIntegerField()
    tokens_output = models.BigIntegerField()
    tokens_cache_read = models.BigIntegerField()
    tokens_cache_write = models.BigIntegerField()
    tokens_reasoning = models.BigIntegerField()
    estimated_cost = money.amount_field()
    billed_cost = money.amount_field()
    byok_estimated_cost = money.amount_field()
    saved_by_cache = money.amount_field()

    class Meta:
        abstract = True


class UsageHourly(Sums):
    """A customer's usage in one hour, by when calls were dispatched."""

    pk = models.CompositePrimaryKey("customer_id", "hour")
    customer_id = models.UUIDField()
    hour = models.DateTimeField()

    class Meta:
        db_table = "usage_hourly"

    def __str__(self) -> str:
        return f"{self.customer_id} {self.hour}"


class UsageDaily(Sums):
    """A customer's usage of one thing on one day.

    `key` is the thing's id or name, empty for none; of `workspace_model` the workspace's id, a
    slash and the model.
    """

    pk = models.CompositePrimaryKey("customer_id", "dimension", "day", "key")
    customer_id = models.UUIDField()
    dimension = models.CharField(max_length=16, choices=choices(RollupDimension))
    day = models.DateField()
    key = models.CharField(max_length=255, blank=True)

    class Meta:
        db_table = "usage_daily"
        constraints = [one_of("dimension", RollupDimension, "usage_daily_dimension")]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.dimension} {self.key} {self.day}"


class RollupWatermark(models.Model):
    """The one row that says what is folded: all that transactions before `folded_before` wrote.

    `folded_before` moves in the transaction that folds; the row's lock is what one folder at a
    time holds.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    folded_before = Xid8Field(default="0")
    folded_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "billing_rollup_watermark"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="rollup_watermark_one")]

    def __str__(self) -> str:
        return f"folded at {self.folded_at}"


class UsageEffective(Sums):
    """The view of events and their corrections: what usage adds up to, row by row.

    A correction's row has its event's columns and time, and no request of its own.
    `event_cost` is what the event itself had been priced at.
    """

    pk = models.CompositePrimaryKey("event_id", "number")
    event_id = models.UUIDField()
    number = models.IntegerField()
    customer_id = models.UUIDField()
    provider_id = models.UUIDField()
    user_id = models.UUIDField(null=True)
    workspace_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    agent_id = models.CharField(max_length=100)
    conversation_id = models.UUIDField(null=True)
    run_id = models.UUIDField(null=True)
    request_id = models.UUIDField()
    model = models.CharField(max_length=200)
    provider_type = models.CharField(max_length=30)
    billing_mode = models.CharField(max_length=10)
    source = models.CharField(max_length=10)
    outcome = models.CharField(max_length=20)
    status = models.PositiveSmallIntegerField()
    occurred_at = models.DateTimeField()
    event_cost = money.amount_field(null=True)
    commit_xid = Xid8Field()

    class Meta:
        managed = False
        db_table = "usage_effective"

    def __str__(self) -> str:
        return f"{self.event_id} #{self.number}"
