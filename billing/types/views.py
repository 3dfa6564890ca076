"""How people see money."""

from __future__ import annotations

from enum import StrEnum


class Precision(StrEnum):
    """How many decimal places amounts show: cents, what tokens cost, or everything."""

    CENTS = "cents"
    COMMON = "common"
    EXACT = "exact"
