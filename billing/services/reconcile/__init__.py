"""Vendors' reports beside our own count: fetched or uploaded, compared, and decided by people.

`request` asks for a comparison, `providers` brings the report (`ingest_page`, `complete`), each day
is compared (`compare`), each difference is a line that a person decides (`decide`). A customer is
never charged more: what we missed is our cost, what we charged too much is credited, by approval.
"""

from billing.services.reconcile.compared import compare, compare_run
from billing.services.reconcile.review import apply_approved, decide
from billing.services.reconcile.runs import (
    Asked,
    Asking,
    complete,
    due,
    fail,
    ingest_page,
    request,
    start,
)

__all__ = [
    "Asked",
    "Asking",
    "apply_approved",
    "compare",
    "compare_run",
    "complete",
    "decide",
    "due",
    "fail",
    "ingest_page",
    "request",
    "start",
]
