"""Reports over all customers: margin, liability, breakage, overrun, unpriced calls.

At most 25 rows each. Units: USD. Usage is read from the roll-ups and the rows they lack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import connection

from billing.services.console import DAYS, ROWS
from ideplatform.kit import clock

_DAY: Final = timedelta(days=1)
_USED: Final = """
WITH used AS (
    SELECT key, day, requests, billed_cost, estimated_cost, byok_estimated_cost, unpriced_requests
    FROM usage_daily WHERE dimension = 'model' AND day >= %(since)s
    UNION ALL
    SELECT model, (occurred_at AT TIME ZONE 'UTC')::date, requests, billed_cost, estimated_cost,
           byok_estimated_cost, unpriced_requests
    FROM usage_effective WHERE (occurred_at AT TIME ZONE 'UTC')::date >= %(since)s
      AND commit_xid >= (SELECT folded_before FROM billing_rollup_watermark)
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A report: cells are text, numbers or None."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]


def margin() -> Table:
    """What customers paid for each model in 30 days, what vendors take, what is left."""
    return _table(
        f"Margin of {DAYS} days",
        ("Model", "Calls", "Revenue", "Vendors' cost", "Margin"),
        _USED
        + """
SELECT key, sum(requests)::bigint, sum(billed_cost), sum(estimated_cost - byok_estimated_cost),
       sum(billed_cost - estimated_cost + byok_estimated_cost) AS margin
FROM used GROUP BY key ORDER BY margin, key LIMIT %(rows)s
""",
    )


def liability() -> Table:
    """What customers have with us, and what some of them owe."""
    return _table(
        "Liability",
        ("Wallet", "Wallets", "Owed to customers", "Owed by customers", "Held"),
        """
SELECT kind, count(*), sum(greatest(posted, 0)), sum(greatest(-posted, 0)), sum(held)
FROM billing_ledger_accounts WHERE customer_id IS NOT NULL
GROUP BY kind ORDER BY kind LIMIT %(rows)s
""",
    )


def breakage() -> Table:
    """Credit that ended unused, by month."""
    return _table(
        "Breakage",
        ("Month (UTC)", "Lots", "Breakage"),
        """
SELECT to_char(t.effective_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, count(*), sum(e.amount)
FROM billing_ledger_entries e JOIN billing_ledger_txns t ON t.id = e.txn_id
JOIN billing_ledger_accounts a ON a.id = e.account_id
WHERE a.kind = 'breakage' GROUP BY month ORDER BY month DESC LIMIT %(rows)s
""",
    )


def overrun() -> Table:
    """Calls of 30 days that cost more than they had reserved, by model."""
    return _table(
        f"Overrun of {DAYS} days",
        ("Vendor", "Model", "Calls", "Overrun", "Largest"),
        """
SELECT provider_type, model, count(*), sum(overrun), max(overrun)
FROM billing_holds WHERE overrun > 0 AND ended_at >= %(since)s
GROUP BY provider_type, model ORDER BY sum(overrun) DESC, model LIMIT %(rows)s
""",
    )


def unpriced() -> Table:
    """Calls of 30 days that nobody knows the price of, by model."""
    return _table(
        f"Unpriced calls of {DAYS} days",
        ("Model", "Unpriced calls", "Last day"),
        _USED
        + """
SELECT key, sum(unpriced_requests)::bigint, max(day) FROM used WHERE unpriced_requests > 0
GROUP BY key ORDER BY sum(unpriced_requests) DESC, key LIMIT %(rows)s
""",
    )


REPORTS: Final[dict[str, Callable[[], Table]]] = {
    "margin": margin,
    "liability": liability,
    "breakage": breakage,
    "overrun": overrun,
    "unpriced": unpriced,
}


def _table(title: str, headers: Sequence[str], sql: str) -> Table:
    since = (clock.now() - DAYS * _DAY).date()
    with connection.cursor() as cursor:
        cursor.execute(sql, {"since": since, "rows": ROWS})
        return Table(title=title, headers=headers, rows=cursor.fetchall())
