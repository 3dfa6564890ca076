"""What a call probably used when its vendor did not say (pure): bytes times tokens per byte.

Ratios are exact decimals that a hold keeps, so that whoever settles it later estimates alike.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from billing.types import TokenCount, UnitClass


def tokens(
    *,
    input_bytes: int,
    output_bytes: int,
    input_ratio: Decimal,
    output_ratio: Decimal,
    reported: TokenCount | None,
) -> TokenCount:
    """The tokens of a cut call: never less than what the vendor had already reported."""
    quantities = dict(reported.quantities) if reported is not None else {}
    known = reported or TokenCount()
    if not known.input:
        quantities[UnitClass.INPUT] = max(1, rounded(input_bytes * input_ratio))
    missing = rounded(output_bytes * output_ratio) - known.output
    if missing > 0:
        quantities[UnitClass.OUTPUT] = quantities.get(UnitClass.OUTPUT, 0) + missing
    return TokenCount(quantities)


def rounded(amount: Decimal) -> int:
    """The nearest whole number of tokens, half even."""
    return int(amount.to_integral_value(ROUND_HALF_EVEN))
