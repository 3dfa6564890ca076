"""Tags of the dashboard: every number stands in the page exactly, beside how people read it."""

from __future__ import annotations

from decimal import Decimal

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.types import Precision
from billing.web import figures
from ideplatform.kit import money

register = template.Library()


@register.simple_tag(takes_context=True)
def usd(context: Context, amount: Decimal, rounding: str = "") -> SafeString:
    """An amount as the reader wants it; the exact one is the element's value and its title."""
    precision = Precision(context.get("precision") or Precision.COMMON)
    shown = figures.usd(amount, precision, rounds_down=rounding == "down")
    exact = money.text(amount)
    return format_html('<data value="{}" title="{} USD">{}</data>', exact, exact, shown)


@register.simple_tag
def count(number: int) -> SafeString:
    """An integer, with its thousands apart."""
    return format_html('<data value="{}">{}</data>', str(number), figures.count(number))
