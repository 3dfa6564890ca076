"""Lists of money, to be read: the ledger, lots, holds, budgets, the audit."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline

from billing.admin.desk import Desk
from billing.models import (
    BillingAudit,
    Budget,
    CreditLot,
    HandMove,
    Hold,
    LedgerEntry,
    LedgerTxn,
)
from billing.types import Right
from ideplatform.kit.admin import ReadOnly


class Legs(ReadOnly, TabularInline):  # type: ignore[misc]  # the theme's class has no types
    model = LedgerEntry
    fields = readonly_fields = ("account", "amount", "account_seq", "balance_after")
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return True  # the page that shows it has judged

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerEntry]:
        return LedgerEntry.objects.select_related("account")


@admin.register(LedgerTxn)
class LedgerTxnAdmin(Desk):
    list_display = ("created_at", "kind", "idempotency_key", "reason", "actor_id")
    list_filter = ("kind",)
    search_fields = ("idempotency_key", "id")
    ordering = ("-created_at", "-id")
    fields = (
        "id", "kind", "idempotency_key", "effective_at", "created_at", "actor_id", "reason",
        "links", "reverses",
    )  # fmt: skip
    inlines = (Legs,)


@admin.register(CreditLot)
class CreditLotAdmin(Desk):
    list_display = ("created_at", "account", "kind", "amount", "remaining", "expires_at")
    list_filter = ("kind",)
    list_select_related = ("account",)
    search_fields = ("id", "account__customer__organization__name")
    ordering = ("-created_at",)


@admin.register(Hold)
class HoldAdmin(Desk):
    list_display = (
        "created_at", "customer_id", "state", "model", "amount", "settled_amount", "overrun",
        "expires_at",
    )  # fmt: skip
    list_filter = ("state", "billing_mode")
    search_fields = ("request_id", "id")
    ordering = ("-created_at",)
    exclude = ("last_usage",)


@admin.register(Budget)
class BudgetAdmin(Desk):
    list_display = ("customer_id", "name", "scope", "period", "hard", "soft", "is_enabled")
    list_filter = ("scope", "period", "is_enabled")
    search_fields = ("name", "id", "scope_id")
    ordering = ("-created_at",)


@admin.register(HandMove)
class HandMoveAdmin(Desk):
    list_display = ("day", "operator_id", "amount", "approval_id", "id")
    list_filter = ("day",)
    ordering = ("-day", "-id")


@admin.register(BillingAudit)
class BillingAuditAdmin(Desk):
    right = Right.AUDIT
    list_display = ("seq", "at", "action", "actor_id", "customer_id", "target")
    list_filter = ("action",)
    search_fields = ("action", "target")
    ordering = ("-seq",)
    fields = ("seq", "at", "action", "actor_id", "customer_id", "target", "details", "chained")
    readonly_fields = ("chained",)

    @admin.display(description="Hash")
    def chained(self, entry: BillingAudit) -> str:
        return f"{bytes(entry.prev_hash).hex()} > {bytes(entry.hash).hex()}"
