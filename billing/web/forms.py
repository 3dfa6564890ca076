"""What the dashboard's forms send, as the services take it; the rules are those of REST."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.http import QueryDict
from rest_framework import serializers

from billing.api import money_serializers, payment_serializers
from billing.types import BudgetScope, OnHard, Precision
from ideplatform.kit import rest
from ideplatform.kit.errors import InvalidInput, PlatformError
from ideplatform.kit.serializers import StrictSerializer, wrong

NAMED: Final = (BudgetScope.MODEL_GLOB, BudgetScope.AGENT)
"""Scopes whose subject is typed and not chosen."""
_LIMITS: Final = ("name", "hard", "soft", "on_hard", "degrade_to", "inherit_from")
_FLAGS: Final = ("counts_byok", "is_enabled")


class SettingsForm(StrictSerializer):
    tz = serializers.CharField(max_length=64)
    precision = serializers.ChoiceField([one.value for one in Precision])
    gets_alerts = serializers.BooleanField()


def new_budget(sent: QueryDict, organization_id: UUID) -> dict[str, Any]:
    """A budget's subject and limits; raises InvalidInput."""
    scope, _, scope_id = _text(sent, "subject").partition(":")
    if scope in NAMED:
        scope_id = _text(sent, "named")
        if not scope_id:
            raise wrong("/named", "Name the models or the agent.")
    subject = {"scope": scope, "scope_id": scope_id, "tz": _text(sent, "tz") or "UTC"}
    if "period" in sent:
        subject["period"] = _text(sent, "period")
    data = subject | _limits(sent) | {"organization_id": str(organization_id)}
    return _checked(money_serializers.BudgetForm, data)


def changed_budget(sent: QueryDict) -> dict[str, Any]:
    """A budget's limits, all of them: a field left empty is no limit; raises InvalidInput."""
    return _checked(money_serializers.BudgetChangeForm, _limits(sent))


def budget_decision(sent: QueryDict) -> dict[str, Any]:
    """Grant, with an amount of USD, or refuse; raises InvalidInput."""
    data = {"action": _text(sent, "action"), "amount": _text(sent, "amount") or None}
    return _checked(money_serializers.BudgetApprovalForm, data)


def settings(sent: QueryDict) -> dict[str, Any]:
    """A person's preferences; raises InvalidInput."""
    data = {
        "tz": sent.get("tz", ""),
        "precision": sent.get("precision", ""),
        "gets_alerts": "gets_alerts" in sent,
    }
    found = _checked(SettingsForm, data)
    return found | {"precision": Precision(found["precision"])}


def top_up(sent: QueryDict, organization_id: UUID) -> dict[str, Any]:
    """How much credit to buy, and the page's own key: sent twice it is one purchase."""
    amount = _text(sent, "other_amount_usd") or _text(sent, "amount_usd")
    data = {
        "organization_id": str(organization_id),
        "amount_usd": amount,
        "saves_card": "saves_card" in sent,
    }
    form = _checked(payment_serializers.TopUpForm, data)
    return form | {"request_key": payment_serializers.request_key(sent.get("request_key"))}


def auto_recharge(sent: QueryDict, organization_id: UUID) -> dict[str, Any]:
    """What is bought when the wallet runs low; raises InvalidInput."""
    data = {
        "organization_id": str(organization_id),
        "is_enabled": "is_enabled" in sent,
        **{name: sent.get(name, "") for name in ("threshold_usd", "amount_usd", "monthly_cap_usd")},
    }
    return _checked(payment_serializers.AutoRechargeForm, data)


def faults(refused: PlatformError) -> dict[str, str]:
    """What is wrong with each field by its name; "" is the form as a whole."""
    found = {one.pointer.lstrip("/").partition("/")[0]: one.detail for one in refused.errors}
    return found or {"": refused.detail}


def _text(sent: QueryDict, name: str) -> str:
    return str(sent.get(name, "")).strip()


def _limits(sent: QueryDict) -> dict[str, Any]:
    found: dict[str, Any] = {name: _text(sent, name) for name in _LIMITS if name in sent}
    for name in ("hard", "soft", "inherit_from"):
        found[name] = found.get(name) or None
    if "alert_steps" in sent:
        found["alert_steps"] = (
            _text(sent, "alert_steps").replace("%", " ").replace(",", " ").split()
        )
    if found.get("on_hard") in (OnHard.BLOCK, OnHard.APPROVE):
        found["degrade_to"] = ""
    return found | {name: name in sent for name in _FLAGS}


def _checked(form: type[StrictSerializer], data: Mapping[str, Any]) -> dict[str, Any]:
    reader = form(data=data)
    try:
        reader.is_valid(raise_exception=True)
    except serializers.ValidationError as failed:
        raise InvalidInput(errors=tuple(rest.pointers(failed.detail))) from None
    validated: dict[str, Any] = reader.validated_data
    return validated


def amount(value: Decimal | None) -> str:
    """An amount as a number field holds it, without zeros that say nothing."""
    if value is None:
        return ""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
