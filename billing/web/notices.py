"""Putting a notice away."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse

from accounts.types import Permission
from billing.services import notices
from billing.web.pages import BillingPage


class NoticeRead(BillingPage):
    """The button of a notice."""

    permissions = {"POST": Permission.SELF}

    def post(self, request: HttpRequest, notice_id: UUID) -> HttpResponse:
        notices.read(actor=self.actor, notice_id=notice_id)
        return self.to("/billing/")
