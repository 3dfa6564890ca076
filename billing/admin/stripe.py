"""Payments and what Stripe told and was asked; failed webhooks can be applied again."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.types import Permission
from billing.admin import desk
from billing.admin.desk import Desk
from billing.models import StripeInbox, StripeOutbox, TopUp
from billing.services import audit, operators
from billing.stripe import inbox
from billing.types import Right
from ideplatform.kit import accounting
from ideplatform.kit.errors import Forbidden


@admin.action(description="Apply the selected events again")
def replay(
    options: admin.ModelAdmin[StripeInbox], request: HttpRequest, events: QuerySet[StripeInbox]
) -> None:
    """Whatever became of them before; applying one twice moves no money twice."""
    with accounting.at("action billing.StripeInbox.replay"):
        actor = desk.actor(request)
        try:
            operators.authorise(actor, Right.REPLAY)
        except Forbidden:
            options.message_user(request, "You may not replay events.", messages.ERROR)
            return
        for event in events:
            inbox.replay(inbox_id=event.pk)
            audit.record(action="webhook.replayed", actor=actor, target=event.event_id)
    options.message_user(request, "They will be applied in a moment.", messages.SUCCESS)


accounting.declare("action billing.StripeInbox.replay", permission=Permission.BILLING_OPERATE)


@admin.register(StripeInbox)
class StripeInboxAdmin(Desk):
    list_display = ("received_at", "type", "event_id", "state", "attempts", "error")
    list_filter = ("state", "type")
    search_fields = ("event_id",)
    ordering = ("-received_at",)
    exclude = ("body",)
    actions = (replay,)


@admin.register(StripeOutbox)
class StripeOutboxAdmin(Desk):
    list_display = ("created_at", "kind", "state", "customer_id", "attempts", "error", "actor_id")
    list_filter = ("state", "kind")
    search_fields = ("id",)
    ordering = ("-created_at",)
    exclude = ("payload", "response")


@admin.register(TopUp)
class TopUpAdmin(Desk):
    list_display = ("created_at", "customer_id", "kind", "state", "amount_minor", "currency")
    list_filter = ("state", "kind")
    search_fields = ("id", "payment_intent", "checkout_session")
    ordering = ("-created_at",)
    exclude = ("payment_method",)
