"""What is odd about a markup, in words: slips that are blocked, jumps that somebody has to mean.

Units: percent of the vendor's price, USD a token, USD a call.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from billing.models.prices import DEAREST_TOKEN
from billing.services.price_versions import JUMP, TYPO
from billing.types import MarkupKind
from ideplatform.kit.money import plain

MOST: Final = {
    MarkupKind.PERCENT: Decimal(300),
    MarkupKind.PER_UNIT: DEAREST_TOKEN / 10,
    MarkupKind.PER_REQUEST: Decimal(10),
}
"""What lies above can only be a slip: four times the vendor's bill, 200 USD a million, 10 USD."""
USUAL: Final = {
    MarkupKind.PERCENT: Decimal(50),
    MarkupKind.PER_UNIT: DEAREST_TOKEN / 100,
    MarkupKind.PER_REQUEST: Decimal(1),
}
"""What lies above needs a word that it is meant."""
MILLION: Final = 1_000_000
_HUNDRED: Final = Decimal(100)


def is_slip(kind: MarkupKind, value: Decimal, was: Decimal | None) -> bool:
    """Whether a markup can only be a mistake; `was` is what stands for the same calls."""
    return value > MOST[kind] or value < -_HUNDRED or _times(kind, value, was) >= TYPO


def explain(kind: MarkupKind, value: Decimal, was: Decimal | None) -> str:
    """What is odd about a markup; "" when nothing is."""
    if kind is MarkupKind.PERCENT:
        return _of_percent(value)
    times = _times(kind, value, was)
    if value <= USUAL[kind] and times <= JUMP:
        return ""
    off = f", {plain(times)} times off the present {plain(was)} USD" if was else ""
    said = f"{plain(value)} USD"
    if kind is MarkupKind.PER_REQUEST:
        return f"{said} for each call, however short{off}."
    text = f"{said} per token is {plain(value * MILLION)} USD per million tokens{off}"
    if is_slip(kind, value, was) and (was is None or value > was):
        text += f". If {said} is the fee of a million tokens, enter {plain(value / MILLION)}"
    return f"{text}."


def _of_percent(value: Decimal) -> str:
    bill = f"A call that costs 1 USD would be billed {plain((_HUNDRED + value) / _HUNDRED)} USD"
    if value < -_HUNDRED:
        return f"{plain(value)} % is more than everything off; a whole discount is -100."
    if value > MOST[MarkupKind.PERCENT]:
        return f"{bill}. If {plain(value / _HUNDRED)} % is meant, enter {plain(value / _HUNDRED)}."
    if 0 < abs(value) < 1:
        return f"{bill}. If {plain(value * _HUNDRED)} % is meant, enter {plain(value * _HUNDRED)}."
    if value < 0:
        return f"{bill}: less than the vendor charges."
    return f"{bill}." if value > USUAL[MarkupKind.PERCENT] else ""


def _times(kind: MarkupKind, value: Decimal, was: Decimal | None) -> Decimal:
    """How many times off the present fee, at least 1; percent are no unit that one mistakes."""
    if kind is MarkupKind.PERCENT or not was or not value:
        return Decimal(1)
    return max(value / was, was / value)
