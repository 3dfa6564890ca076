"""Settings that money does not go with, found when the platform starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks


def register() -> None:
    """Called once per process by the AppConfig."""
    checks.register(check_welcome_credit)


def check_welcome_credit(**_: Any) -> Sequence[checks.CheckMessage]:
    """Welcome credit is given by nobody: the database lets it pass up to the two-person amount."""
    env = settings.ENV
    if env.billing_welcome_credit_usd > env.billing_two_person_usd:
        return [
            checks.Error(
                "BILLING_WELCOME_CREDIT_USD is above BILLING_TWO_PERSON_USD.",
                hint="Nobody may give that much alone, so new customers could not be opened.",
                id="billing.E001",
            )
        ]
    if env.billing_welcome_credit_usd and env.is_production:
        return [
            checks.Warning(
                "Everybody who registers is given BILLING_WELCOME_CREDIT_USD.",
                hint="Set it to 0 where registration is open to the world.",
                id="billing.W001",
            )
        ]
    return []
