"""What vendors say we used, beside what we counted."""

from __future__ import annotations

from enum import StrEnum


class ReportKind(StrEnum):
    """Which of a vendor's reports a page is of; the shapes differ."""

    OPENAI_USAGE = "openai_usage"
    OPENAI_EMBEDDINGS = "openai_embeddings"
    OPENAI_COSTS = "openai_costs"
    ANTHROPIC_USAGE = "anthropic_usage"
    ANTHROPIC_COSTS = "anthropic_costs"
    GOOGLE_ROWS = "google_rows"


class ReconSource(StrEnum):
    """Who brings the report: we ask the vendor for it, or a person has it."""

    API = "api"
    UPLOAD = "upload"


class ReconState(StrEnum):
    """`repeated`: the report was the one that an earlier run of the same window had compared."""

    QUEUED = "queued"
    FETCHING = "fetching"
    DONE = "done"
    REPEATED = "repeated"
    FAILED = "failed"


class Granularity(StrEnum):
    DAY = "day"


class LineClass(StrEnum):
    """How a cell of the vendor's report and ours differ.

    `late` may still arrive on either side; `boundary_skew` is one call counted on two sides of
    midnight; `missing_usage` is what the vendor counted more than we, `phantom_usage` what we
    counted more; `price_drift` the same quantities at another price; `foreign_traffic` is of
    another key or project of the same account.
    """

    MATCH = "match"
    LATE = "late"
    BOUNDARY_SKEW = "boundary_skew"
    MISSING_USAGE = "missing_usage"
    PHANTOM_USAGE = "phantom_usage"
    PRICE_DRIFT = "price_drift"
    UNPRICED = "unpriced"
    UNKNOWN_MODEL = "unknown_model"
    ROUNDING = "rounding"
    CREDIT_OR_DISCOUNT = "credit_or_discount"
    FOREIGN_TRAFFIC = "foreign_traffic"


class LineStatus(StrEnum):
    """`auto_closed` needed nobody: it agrees, or a later comparison replaced it."""

    OPEN = "open"
    AUTO_CLOSED = "auto_closed"
    ACCEPTED = "accepted"
    IGNORED = "ignored"
    ADJUSTED = "adjusted"
    DISPUTED = "disputed"


class LineAction(StrEnum):
    """What a person decides about a line.

    `accept` the vendor's figure (a difference becomes our own cost, never the customer's),
    `ignore` it, `adjust` our events to it (an overcharge is credited), `dispute` it.
    """

    ACCEPT = "accept"
    IGNORE = "ignore"
    ADJUST = "adjust"
    DISPUTE = "dispute"


UNDECIDED = (LineStatus.OPEN, LineStatus.DISPUTED)
