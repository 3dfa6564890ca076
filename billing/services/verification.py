"""The invariants of money, each a query that names every broken row.

All are read in one REPEATABLE READ snapshot, so a platform in full use is judged as fairly as a
still one. I5 is kept row by row: a hold remembers what its wallet could still give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction

from billing.services import rollups
from ideplatform.kit.db import allow_long_transaction
from ideplatform.observability import metrics

_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """`sql` selects a text for each row that breaks the rule."""

    code: str
    title: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    code: str
    title: str
    row: str


_SUMS: Final = ", ".join(f"sum({name}) AS {name}" for name in rollups.SUMS)
_SUMMED: Final = ", ".join(rollups.SUMS)


def _differences(table: str, keys: str, rows: str) -> str:
    """Names each sum of a table that is not what its rows add up to; a missing row is empty."""
    return f"""
SELECT format('%s %s: %s is %s, its rows add up to %s', '{table}', place, one.name,
              coalesce(one.has, 'missing'), coalesce(one.should, 'nothing'))
FROM (
    SELECT jsonb_build_array({keys}) AS place, to_jsonb(r) AS has, to_jsonb(e) AS should
    FROM (SELECT {keys}, {_SUMMED} FROM {table}) AS r
    FULL JOIN ({rows}) AS e USING ({keys})
) AS pair CROSS JOIN LATERAL (
    SELECT name, has ->> name AS has, should ->> name AS should
    FROM unnest(string_to_array('{_SUMMED}', ', ')) AS name
    WHERE has -> name IS DISTINCT FROM should -> name
) AS one
"""  # noqa: S608 - our own names


# Written out once per dimension: a verification that shared the folder's grouping would share its
# mistakes.
_FOLDED: Final = (
    "FROM usage_effective WHERE commit_xid < (SELECT folded_before FROM billing_rollup_watermark)"
)
_BY_HOUR: Final = (
    f"SELECT customer_id, date_trunc('hour', occurred_at, 'UTC') AS hour, {_SUMS} {_FOLDED}"
    " GROUP BY 1, 2"
)
_BY_DAY: Final = " UNION ALL ".join(
    f"SELECT customer_id, '{dimension}' AS dimension,"
    f" (occurred_at AT TIME ZONE 'UTC')::date AS day, {key} AS key, {_SUMS} {_FOLDED}"
    " GROUP BY 1, 2, 3, 4"
    for dimension, key in {
        "model": "model",
        "agent": "agent_id",
        "workspace": "coalesce(workspace_id::text, '')",
        "user": "coalesce(user_id::text, '')",
        "api_key": "coalesce(api_key_id::text, '')",
        "provider": "provider_id::text",
        "workspace_model": "concat(workspace_id::text, '/', model)",
    }.items()
)

INVARIANTS: Final = (
    Invariant(
        code="I1",
        title="every transaction has legs, and they sum to zero in each currency",
        sql="""
SELECT format('transaction %s (%s) is off by %s %s', t.id, t.idempotency_key,
              coalesce(sum(e.amount), 0), coalesce(e.currency, 'USD: it has no legs'))
FROM billing_ledger_txns t LEFT JOIN billing_ledger_entries e ON e.txn_id = t.id
GROUP BY t.id, t.idempotency_key, e.currency HAVING coalesce(sum(e.amount), 1) <> 0
""",
    ),
    Invariant(
        code="I2",
        title="a wallet's posted is the sum of its entries and its last balance, without gaps",
        sql="""
SELECT format('%s %s of customer %s: posted %s, entries %s, last balance %s, seq %s of %s entries',
              a.kind, a.id, a.customer_id, a.posted, coalesce(s.total, 0), s.last, a.seq,
              coalesce(s.legs, 0))
FROM billing_ledger_accounts a LEFT JOIN (
    SELECT e.account_id, sum(e.amount) AS total, count(*) AS legs, max(e.account_seq) AS top,
        min(e.account_seq) AS bottom, count(e.account_seq) AS numbered,
        (array_agg(e.balance_after ORDER BY e.account_seq DESC))[1] AS last
    FROM billing_ledger_entries e GROUP BY e.account_id) AS s ON s.account_id = a.id
WHERE a.customer_id IS NOT NULL AND (
    a.posted <> coalesce(s.total, 0) OR a.posted <> coalesce(s.last, 0)
    OR a.seq <> coalesce(s.legs, 0) OR a.seq <> coalesce(s.top, 0)
    OR coalesce(s.bottom, 1) <> 1 OR coalesce(s.numbered, 0) <> coalesce(s.legs, 0))
UNION ALL
SELECT format('entry %s: balance %s does not follow from the one before', e.id, e.balance_after)
FROM (SELECT id, balance_after, amount,
             lag(balance_after, 1, 0::numeric) OVER (PARTITION BY account_id ORDER BY account_seq)
                 AS before
      FROM billing_ledger_entries WHERE account_seq IS NOT NULL) AS e
WHERE e.balance_after <> e.before + e.amount
""",
    ),
    Invariant(
        code="I3",
        title="what wallets and budget periods hold is what live holds reserve",
        sql="""
SELECT format('wallet %s of customer %s: held %s, live holds %s', a.id, a.customer_id, a.held,
              coalesce(h.total, 0))
FROM billing_ledger_accounts a LEFT JOIN (
    SELECT customer_id, sum(amount) AS total FROM billing_holds
    WHERE state IN ('pending', 'dispatched') GROUP BY customer_id
) AS h ON h.customer_id = a.customer_id
WHERE a.kind = 'wallet' AND a.held <> coalesce(h.total, 0)
UNION ALL
SELECT format('budget period %s of budget %s: held %s, live holds %s', p.id, p.budget_id, p.held,
              coalesce(h.total, 0))
FROM billing_budget_periods p LEFT JOIN (
    SELECT one.id, sum(budget_amount) AS total
    FROM billing_holds CROSS JOIN LATERAL unnest(budget_period_ids) AS one(id)
    WHERE state IN ('pending', 'dispatched') GROUP BY one.id
) AS h ON h.id = p.id
WHERE p.held <> coalesce(h.total, 0)
""",
    ),
    Invariant(
        code="I4",
        title="what a budget period has spent is what its calls cost, corrections included",
        sql="""
SELECT format('budget period %s of budget %s: spent %s, its calls %s', p.id, p.budget_id, p.spent,
              coalesce(u.total, 0))
FROM billing_budget_periods p LEFT JOIN (
    SELECT one.id, sum(CASE WHEN e.billing_mode = 'platform'
        THEN e.billed_cost + coalesce(c.billed, 0)
        ELSE coalesce(e.estimated_cost, 0) + coalesce(c.cost, 0) END) AS total
    FROM usage_events e CROSS JOIN LATERAL unnest(e.budget_period_ids) AS one(id)
    LEFT JOIN (
        SELECT event_id, sum(delta_billed_cost) AS billed, sum(delta_estimated_cost) AS cost
        FROM billing_usage_corrections GROUP BY event_id) AS c ON c.event_id = e.id
    GROUP BY one.id
) AS u ON u.id = p.id
WHERE p.spent <> coalesce(u.total, 0)
""",
    ),
    Invariant(
        code="I5",
        title="no hold was granted beyond what its wallet and limit could give",
        sql="""
SELECT format('hold %s of customer %s: granted %s with %s left', id, customer_id, amount,
              coalesce(headroom::text, 'nothing known'))
FROM billing_holds WHERE amount > 0 AND (headroom IS NULL OR headroom < 0)
""",
    ),
    Invariant(
        code="I6",
        title="one event per request and attempt, and per provider's own request id",
        sql="""
SELECT format('request %s attempt %s has %s events', request_id, attempt, count(*))
FROM usage_events GROUP BY request_id, attempt HAVING count(*) > 1
UNION ALL
SELECT format('request %s of provider %s has %s events', provider_request_id, provider_id, count(*))
FROM usage_events WHERE provider_request_id <> ''
GROUP BY provider_id, provider_request_id HAVING count(*) > 1
""",
    ),
    Invariant(
        code="I7",
        title="a dispatched hold whose lease is long over, and each settled one, has one event",
        sql="""
SELECT format('hold %s (%s, request %s/%s) has no event', h.id, h.state, h.request_id, h.attempt)
FROM billing_holds h
WHERE (h.state = 'settled' OR (h.state = 'dispatched'
        AND h.expires_at + greatest(h.expires_at - h.dispatched_at, interval '0') < now()))
  AND NOT EXISTS (SELECT 1 FROM usage_events e
                  WHERE e.request_id = h.request_id AND e.attempt = h.attempt)
UNION ALL
SELECT format('hold %s is %s and has an event', h.id, h.state)
FROM billing_holds h JOIN usage_events e ON e.hold_id = h.id WHERE h.state <> 'settled'
UNION ALL
SELECT format('event %s cost %s and moved no money', e.id, e.estimated_cost)
FROM usage_events e
WHERE e.billing_mode = 'platform' AND e.estimated_cost > 0 AND e.txn_id IS NULL
    AND EXISTS (SELECT 1 FROM billing_holds h WHERE h.id = e.hold_id)
UNION ALL
SELECT format('event %s was billed %s, its transaction moved %s', e.id, e.billed_cost, s.revenue)
FROM usage_events e JOIN (
    SELECT l.txn_id, coalesce(sum(l.amount) FILTER (WHERE a.kind = 'revenue_usage'), 0) AS revenue,
        coalesce(sum(l.amount) FILTER (WHERE a.kind LIKE 'provider_payable:%'), 0) AS owed
    FROM billing_ledger_entries l JOIN billing_ledger_accounts a ON a.id = l.account_id
    GROUP BY l.txn_id) AS s ON s.txn_id = e.txn_id
WHERE s.revenue <> e.billed_cost OR s.owed <> e.estimated_cost
UNION ALL
SELECT format('correction %s left %s billed and %s of cost, its transaction moved %s and %s', c.id,
              c.billed, c.cost, s.revenue, s.owed)
FROM (
    SELECT c.id, c.txn_id, c.delta_estimated_cost AS delta,
        e.billed_cost + sum(c.delta_billed_cost) OVER line AS billed,
        coalesce(e.estimated_cost, 0) + sum(c.delta_estimated_cost) OVER line AS cost
    FROM billing_usage_corrections c JOIN usage_events e ON e.id = c.event_id
    WINDOW line AS (PARTITION BY c.event_id ORDER BY c.number)
) AS c JOIN (
    SELECT l.txn_id, t.kind, coalesce(sum(l.amount) FILTER (WHERE a.kind = 'revenue_usage'), 0)
            AS revenue,
        coalesce(sum(l.amount) FILTER (WHERE a.kind LIKE 'provider_payable:%'), 0) AS owed
    FROM billing_ledger_entries l JOIN billing_ledger_accounts a ON a.id = l.account_id
    JOIN billing_ledger_txns t ON t.id = l.txn_id GROUP BY l.txn_id, t.kind
) AS s ON s.txn_id = c.txn_id
WHERE CASE s.kind WHEN 'true_up' THEN s.revenue <> 0 OR s.owed <> c.delta
      ELSE s.revenue <> c.billed OR s.owed <> c.cost END
UNION ALL
SELECT format('event %s was not counted by the platform and moved money', e.id)
FROM usage_events e WHERE e.source = 'client' AND e.txn_id IS NOT NULL
""",
    ),
    Invariant(
        code="I8",
        title="what remains of a wallet's lots is what it has, unless it owes",
        sql="""
SELECT format('%s %s of customer %s: posted %s, lots %s', a.kind, a.id, a.customer_id, a.posted,
              coalesce(l.total, 0))
FROM billing_ledger_accounts a LEFT JOIN (
    SELECT account_id, sum(remaining) AS total FROM billing_credit_lots GROUP BY account_id
) AS l ON l.account_id = a.id
WHERE a.customer_id IS NOT NULL AND greatest(a.posted, 0) <> coalesce(l.total, 0)
UNION ALL
SELECT format('lot %s: %s of %s remain, %s was used', l.id, l.remaining, l.amount,
              coalesce(u.total, 0))
FROM billing_credit_lots l LEFT JOIN (
    SELECT lot_id, sum(amount) AS total FROM billing_lot_uses GROUP BY lot_id
) AS u ON u.lot_id = l.id
WHERE l.amount - l.remaining <> coalesce(u.total, 0)
""",
    ),
    Invariant(
        code="I9",
        title="sums by hour and day are what the folded events and corrections add up to",
        sql=_differences("usage_hourly", "customer_id, hour", _BY_HOUR)
        + " UNION ALL "
        + _differences("usage_daily", "customer_id, dimension, day, key", _BY_DAY),
    ),
    Invariant(
        code="I13",
        title="a closed statement says what the ledger says, and follows the one before",
        sql="""
SELECT format('statement %s (%s) closes with %s, its lines with %s', s.id, s.month, s.closing,
              s.opening + lines.total)
FROM billing_statements s CROSS JOIN LATERAL (
    SELECT coalesce(sum((line ->> 'amount')::numeric), 0) AS total
    FROM jsonb_array_elements(s.lines) AS line) AS lines
WHERE s.closing <> s.opening + lines.total
UNION ALL
SELECT format('statement %s (%s) opens with %s, the one before closed with %s', s.id, s.month,
              s.opening, s.before)
FROM (SELECT id, month, opening,
             lag(closing) OVER (PARTITION BY customer_id ORDER BY month) AS before
      FROM billing_statements) AS s
WHERE s.opening <> s.before
UNION ALL
SELECT format('statement %s (%s) closes with %s, the wallets with %s', s.id, s.month, s.closing,
              coalesce(held.total, 0))
FROM billing_statements s CROSS JOIN LATERAL (
    SELECT sum(e.balance_after) AS total
    FROM billing_ledger_accounts a JOIN billing_ledger_entries e ON e.account_id = a.id
        AND e.account_seq = CASE a.kind WHEN 'wallet' THEN s.wallet_seq ELSE s.promo_seq END
    WHERE a.customer_id = s.customer_id) AS held
WHERE s.closing <> coalesce(held.total, 0)
""",
    ),
    Invariant(
        code="I10",
        title="a paid top-up has one transaction of its credit, what was taken of it one each",
        sql="""
SELECT format('top-up %s brought %s, its transaction %s', t.id, t.credited, coalesce(m.moved, 0))
FROM billing_top_ups t LEFT JOIN (
    SELECT x.id, x.idempotency_key, a.customer_id, sum(e.amount) AS moved
    FROM billing_ledger_txns x JOIN billing_ledger_entries e ON e.txn_id = x.id
    JOIN billing_ledger_accounts a ON a.id = e.account_id AND a.kind = 'wallet'
    GROUP BY x.id, x.idempotency_key, a.customer_id
) AS m ON m.id = t.txn_id AND m.customer_id = t.customer_id
    AND m.idempotency_key = 'topup:' || t.payment_intent
WHERE t.state IN ('paid', 'refunded', 'disputed') AND m.moved IS DISTINCT FROM t.credited
UNION ALL
SELECT format('transaction %s (%s) is of no top-up', x.id, x.idempotency_key)
FROM billing_ledger_txns x WHERE x.idempotency_key LIKE 'topup:%'
    AND NOT EXISTS (SELECT 1 FROM billing_top_ups t WHERE t.txn_id = x.id)
UNION ALL
SELECT format('transaction %s (%s) is of no clawback', x.id, x.idempotency_key)
FROM billing_ledger_txns x WHERE x.kind IN ('refund', 'dispute')
    AND NOT EXISTS (SELECT 1 FROM billing_clawbacks c WHERE c.txn_id = x.id)
UNION ALL
SELECT format('%s %s is %s, its transaction is %s', c.kind, c.id, c.state,
              CASE WHEN r.id IS NULL THEN 'not reversed' ELSE 'reversed' END)
FROM billing_clawbacks c LEFT JOIN billing_ledger_txns r ON r.reverses_id = c.txn_id
WHERE c.txn_id IS NOT NULL AND (c.state = 'undone') <> (r.id IS NOT NULL)
""",
    ),
    Invariant(
        code="I12",
        title="the audit is one chain of hashes, from its first entry to its last",
        sql="""
SELECT format('entry %s (%s) is not what was written', a.seq, a.action)
FROM billing_audit a WHERE a.hash <> billing_audit_hash(a)
UNION ALL
SELECT format('entry %s (%s) does not follow entry %s', a.seq, a.action, a.seq - 1)
FROM (SELECT seq, action, prev_hash, lag(hash) OVER (ORDER BY seq) AS before,
             lag(seq) OVER (ORDER BY seq) AS previous FROM billing_audit) AS a
WHERE a.prev_hash <> coalesce(a.before, sha256('IDE Mundial: billing audit'))
    OR a.seq <> coalesce(a.previous, 0) + 1
UNION ALL
SELECT format('the audit ends in entry %s, its last entry was %s', coalesce(a.seq, 0), h.seq)
FROM billing_audit_head h
LEFT JOIN (SELECT seq, hash FROM billing_audit ORDER BY seq DESC LIMIT 1) AS a ON true
WHERE h.seq <> coalesce(a.seq, 0)
    OR h.hash <> coalesce(a.hash, sha256('IDE Mundial: billing audit'))
""",
    ),
)


def breaches() -> list[Breach]:
    """Every row that breaks an invariant, in the order of the invariants."""
    found = list(_found())
    metrics.ledger_drift_rows.set(len(found))
    return found


def _found() -> Iterator[Breach]:
    with transaction.atomic(), connection.cursor() as cursor:
        if not _is_nested():
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            allow_long_transaction(seconds=_TIMEOUT_S)
        for invariant in INVARIANTS:
            cursor.execute(invariant.sql)
            for (row,) in cursor.fetchall():
                yield Breach(code=invariant.code, title=invariant.title, row=row)


def _is_nested() -> bool:
    """Whether a caller's transaction is around this one: its isolation cannot be changed."""
    return len(connection.savepoint_ids) > 0
