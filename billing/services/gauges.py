"""What graphs show of all customers' money together: binary numbers. The ledger is the truth."""

from __future__ import annotations

from typing import Final

from django.db import connection

from ideplatform.observability import metrics


def measure() -> None:
    """Set what live holds reserve, and by how much the wallets' cached sums are off.

    Light enough for every few seconds: each wallet against its last entry and its live holds.
    `manage.py billing_verify` names the rows.
    """
    with connection.cursor() as cursor:
        cursor.execute(_OPEN)
        (reserved,) = cursor.fetchone()
        cursor.execute(_DRIFT)
        (drift,) = cursor.fetchone()
    for gauge, amount in ((metrics.holds_open_usd, reserved), (metrics.ledger_drift_usd, drift)):
        gauge.set(int(amount.scaleb(12)) / 10**12)


_OPEN: Final = """
SELECT coalesce(sum(amount), 0) FROM billing_holds WHERE state IN ('pending', 'dispatched')
"""
# One statement is one snapshot: a settlement is seen whole or not at all.
_DRIFT: Final = """
SELECT coalesce(sum(abs(a.posted - coalesce(last.balance_after, 0))
                    + abs(a.held - coalesce(live.held, 0))), 0)
FROM billing_ledger_accounts a
LEFT JOIN LATERAL (
    SELECT e.balance_after FROM billing_ledger_entries e WHERE e.account_id = a.id
        AND e.account_seq IS NOT NULL ORDER BY e.account_seq DESC LIMIT 1) AS last ON true
LEFT JOIN (
    SELECT customer_id, sum(amount) AS held FROM billing_holds
    WHERE state IN ('pending', 'dispatched') GROUP BY customer_id
) AS live ON live.customer_id = a.customer_id AND a.kind = 'wallet'
WHERE a.customer_id IS NOT NULL
"""
