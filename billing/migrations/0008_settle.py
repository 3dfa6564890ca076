"""Ending calls: events, budgets, ledger and lots of a batch by one function call.

`calls` are rows of `usage_events` as JSON. What is new is decided by the table's own unique keys;
everything else follows from what was new. A hold that had expired or was voided settles as well,
once: what it reserved is no longer held, what it cost is posted.
"""

from django.db import migrations

EVENTS = """
CREATE FUNCTION billing_insert_events(calls usage_events[], is_named boolean) RETURNS uuid[]
LANGUAGE sql AS $$
    WITH fresh AS (
        INSERT INTO usage_events (
            id, request_id, attempt, customer_id, provider_id, user_id, workspace_id, api_key_id,
            agent_id, conversation_id, run_id, operation, model, requested_model, served_model,
            provider_type, service_tier, region, provider_request_id, billing_mode, source,
            accuracy, outcome, status, tokens_input, tokens_output, tokens_cache_read,
            tokens_cache_write, tokens_reasoning, quantities, lines, price_version_id,
            estimated_cost, billed_cost, saved_by_cache, currency, occurred_at, completed_at,
            first_token_ms, duration_ms, streamed, hold_id, txn_id, budget_period_ids,
            payload_hash, trace_id)
        SELECT e.id, e.request_id, e.attempt, e.customer_id, e.provider_id,
            (SELECT u.id FROM users u WHERE u.id = e.user_id),
            (SELECT w.id FROM workspaces w WHERE w.id = e.workspace_id),
            e.api_key_id, e.agent_id, e.conversation_id, e.run_id, e.operation, e.model,
            e.requested_model, e.served_model, e.provider_type, e.service_tier, e.region,
            CASE WHEN is_named THEN e.provider_request_id ELSE '' END, e.billing_mode, e.source,
            e.accuracy, e.outcome, e.status, e.tokens_input, e.tokens_output,
            e.tokens_cache_read, e.tokens_cache_write, e.tokens_reasoning, e.quantities, e.lines,
            e.price_version_id, e.estimated_cost, e.billed_cost, e.saved_by_cache, e.currency,
            e.occurred_at, e.completed_at, e.first_token_ms, e.duration_ms, e.streamed, h.id,
            e.txn_id, coalesce(h.budget_period_ids, '{}'), e.payload_hash, e.trace_id
        FROM unnest(calls) AS e
        LEFT JOIN billing_holds h ON h.request_id = e.request_id AND h.attempt = e.attempt
        -- In one order, so that two batches wait for each other instead of deadlocking.
        ORDER BY e.request_id, e.attempt
        ON CONFLICT DO NOTHING RETURNING id
    ) SELECT coalesce(array_agg(id), '{}') FROM fresh
$$;
"""
EVENTS_BACK = "DROP FUNCTION billing_insert_events(usage_events[], boolean);"

POST = """
-- The ledger of new events: one balanced transaction each, credit burnt lot by lot.
CREATE FUNCTION billing_post_usage(event_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_ledger_accounts (id, customer_id, kind, currency, posted, held, seq)
    SELECT gen_random_uuid(), NULL, missing.kind, 'USD', 0, 0, 0
    FROM (SELECT DISTINCT 'provider_payable:' || e.provider_type AS kind
          FROM usage_events e WHERE e.id = ANY(event_ids) AND e.txn_id IS NOT NULL) AS missing
    WHERE NOT EXISTS (SELECT 1 FROM billing_ledger_accounts a
                      WHERE a.customer_id IS NULL AND a.kind = missing.kind)
    ORDER BY missing.kind ON CONFLICT DO NOTHING;
    PERFORM 1 FROM billing_credit_lots l JOIN billing_ledger_accounts a ON a.id = l.account_id
    WHERE l.remaining > 0 AND a.customer_id IN (
        SELECT e.customer_id FROM usage_events e
        WHERE e.id = ANY(event_ids) AND e.billed_cost > 0)
    ORDER BY l.id FOR NO KEY UPDATE OF l;

    WITH moved AS MATERIALIZED (
        SELECT e.id, e.txn_id, e.hold_id, e.customer_id, e.provider_type, e.occurred_at,
            e.payload_hash, e.request_id, e.attempt, e.billed_cost AS billed,
            e.estimated_cost AS cost
        FROM usage_events e WHERE e.id = ANY(event_ids) AND e.txn_id IS NOT NULL
    ), charge AS (
        SELECT m.txn_id, m.customer_id,
            sum(m.billed) OVER line - m.billed AS low, sum(m.billed) OVER line AS high
        FROM moved m WHERE m.billed > 0
        WINDOW line AS (PARTITION BY m.customer_id ORDER BY m.request_id, m.attempt)
    ), lot AS (
        SELECT l.id, a.customer_id, a.kind,
            sum(l.remaining) OVER line - l.remaining AS low, sum(l.remaining) OVER line AS high
        FROM billing_credit_lots l JOIN billing_ledger_accounts a ON a.id = l.account_id
        WHERE l.remaining > 0 AND a.customer_id IN (SELECT customer_id FROM charge)
        WINDOW line AS (PARTITION BY a.customer_id ORDER BY a.kind = 'wallet', l.priority,
                        l.expires_at NULLS LAST, l.created_at, l.id)
    ), used AS MATERIALIZED (
        SELECT c.txn_id, l.id AS lot_id, l.kind,
            least(c.high, l.high) - greatest(c.low, l.low) AS amount
        FROM charge c JOIN lot l ON l.customer_id = c.customer_id
            AND l.low < c.high AND c.low < l.high
    ), part AS (
        SELECT m.txn_id, m.customer_id, m.provider_type, m.billed, m.cost, m.request_id,
            m.attempt, coalesce((SELECT sum(u.amount) FROM used u
                      WHERE u.txn_id = m.txn_id AND u.kind = 'wallet_promo'), 0) AS promo
        FROM moved m
    ), leg AS (
        SELECT p.txn_id, p.customer_id, one.kind, one.amount, p.request_id, p.attempt
        FROM part p CROSS JOIN LATERAL (VALUES
            ('wallet_promo', -p.promo), ('wallet', p.promo - p.billed),
            ('revenue_usage', p.billed), ('provider_cogs', -p.cost),
            ('provider_payable:' || p.provider_type, p.cost)) AS one(kind, amount)
        WHERE one.amount <> 0
    ), entry AS MATERIALIZED (
        SELECT gen_random_uuid() AS id, l.txn_id, a.id AS account_id, l.kind, l.amount,
            CASE WHEN a.customer_id IS NOT NULL
                THEN a.seq + row_number() OVER line END AS account_seq,
            CASE WHEN a.customer_id IS NOT NULL
                THEN a.posted + sum(l.amount) OVER line END AS balance_after
        FROM leg l JOIN billing_ledger_accounts a ON a.kind = l.kind AND (
            a.customer_id = l.customer_id OR
            (a.customer_id IS NULL AND l.kind NOT IN ('wallet', 'wallet_promo')))
        WINDOW line AS (PARTITION BY a.id ORDER BY l.request_id, l.attempt)
    ), written_txn AS (
        INSERT INTO billing_ledger_txns
            (id, kind, idempotency_key, digest, effective_at, actor_id, reason, links)
        SELECT m.txn_id, 'usage', 'settle:' || coalesce(m.hold_id, m.id), m.payload_hash,
            m.occurred_at, NULL, '', jsonb_build_object('usage_event', m.id)
        FROM moved m
    ), written_entry AS (
        INSERT INTO billing_ledger_entries
            (id, txn_id, account_id, amount, currency, account_seq, balance_after)
        SELECT id, txn_id, account_id, amount, 'USD', account_seq, balance_after FROM entry
    ), written_use AS (
        INSERT INTO billing_lot_uses (id, entry_id, lot_id, amount)
        SELECT gen_random_uuid(), e.id, u.lot_id, u.amount
        FROM used u JOIN entry e ON e.txn_id = u.txn_id AND e.kind = u.kind
    ), burnt AS (
        UPDATE billing_credit_lots l SET remaining = l.remaining - u.amount
        FROM (SELECT lot_id, sum(amount) AS amount FROM used GROUP BY lot_id) AS u
        WHERE u.lot_id = l.id
    )
    UPDATE billing_ledger_accounts a SET posted = a.posted + s.amount, seq = a.seq + s.legs
    FROM (SELECT account_id, sum(amount) AS amount, count(*) AS legs FROM entry
          WHERE account_seq IS NOT NULL GROUP BY account_id) AS s
    WHERE a.id = s.account_id;
END $$;
"""
POST_BACK = "DROP FUNCTION billing_post_usage(uuid[]);"

SETTLE = """
CREATE FUNCTION billing_settle(calls jsonb) RETURNS TABLE (
    ord integer, event_id uuid, payload_hash bytea, provider_request_id text,
    estimated_cost numeric, billed_cost numeric, quantities jsonb, balance numeric,
    overrun numeric, alerts jsonb
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    events usage_events[] := ARRAY(
        SELECT e FROM jsonb_populate_recordset(NULL::usage_events, calls) AS e);
    hold_ids uuid[];
    fresh uuid[];
    told jsonb;
BEGIN
    IF EXISTS (SELECT 1 FROM (SELECT DISTINCT e.customer_id FROM unnest(events) AS e) AS payer
               WHERE NOT EXISTS (SELECT 1 FROM billing_ledger_accounts a
                                 WHERE a.customer_id = payer.customer_id AND a.kind = 'wallet'))
    THEN
        RETURN QUERY SELECT 0, NULL::uuid, NULL::bytea, NULL::text, NULL::numeric,
            NULL::numeric, NULL::jsonb, NULL::numeric, NULL::numeric, NULL::jsonb;
        RETURN;
    END IF;
    hold_ids := ARRAY(
        SELECT h.id FROM billing_holds h WHERE (h.request_id, h.attempt) IN (
            SELECT e.request_id, e.attempt FROM unnest(events) AS e)
        ORDER BY h.id FOR NO KEY UPDATE);
    -- A workspace or user purged while the call ran leaves the event behind, without the link.
    PERFORM 1 FROM workspaces w WHERE w.id IN (SELECT e.workspace_id FROM unnest(events) AS e)
    ORDER BY w.id FOR KEY SHARE;
    PERFORM 1 FROM users u WHERE u.id IN (SELECT e.user_id FROM unnest(events) AS e)
    ORDER BY u.id FOR KEY SHARE;
    fresh := billing_insert_events(events, true);
    -- Some servers give every answer one id; the call is a fact all the same.
    IF cardinality(fresh) < cardinality(events) THEN
        fresh := fresh || billing_insert_events(events, false);
    END IF;
    hold_ids := ARRAY(SELECT e.hold_id FROM usage_events e
                      WHERE e.id = ANY(fresh) AND e.hold_id IS NOT NULL);
    PERFORM 1 FROM billing_budget_periods p WHERE p.id IN (
        SELECT unnest(e.budget_period_ids) FROM usage_events e WHERE e.id = ANY(fresh))
    ORDER BY p.id FOR NO KEY UPDATE;
    PERFORM 1 FROM billing_ledger_accounts a WHERE a.kind = 'wallet' AND a.customer_id IN (
        SELECT e.customer_id FROM usage_events e
        WHERE e.id = ANY(fresh) AND e.billing_mode = 'platform')
    ORDER BY a.id FOR NO KEY UPDATE;
    PERFORM billing_free(hold_ids);
    UPDATE billing_budget_periods p SET spent = p.spent + s.amount
    FROM (SELECT one.id, sum(CASE WHEN e.billing_mode = 'platform' THEN e.billed_cost
                                  ELSE coalesce(e.estimated_cost, 0) END) AS amount
          FROM usage_events e CROSS JOIN LATERAL unnest(e.budget_period_ids) AS one(id)
          WHERE e.id = ANY(fresh) GROUP BY one.id) AS s
    WHERE p.id = s.id AND s.amount > 0;
    UPDATE billing_holds h SET
        state = 'settled', ended_at = clock_timestamp(), settled_amount = s.amount,
        overrun = greatest(s.amount - h.budget_amount, 0)
    FROM (SELECT e.hold_id, CASE WHEN e.billing_mode = 'platform' THEN e.billed_cost
                                 ELSE coalesce(e.estimated_cost, 0) END AS amount
          FROM usage_events e WHERE e.id = ANY(fresh)) AS s
    WHERE h.id = s.hold_id;
    IF EXISTS (SELECT 1 FROM usage_events e WHERE e.id = ANY(fresh) AND e.txn_id IS NOT NULL) THEN
        PERFORM billing_post_usage(fresh);
    END IF;
    told := billing_alert(ARRAY(
        SELECT DISTINCT unnest(e.budget_period_ids) FROM usage_events e WHERE e.id = ANY(fresh)));
    RETURN QUERY
        SELECT c.ordinality::integer, e.id, e.payload_hash, e.provider_request_id::text,
            e.estimated_cost, e.billed_cost, e.quantities,
            (SELECT sum(a.posted) FROM billing_ledger_accounts a
             WHERE a.customer_id = e.customer_id),
            (SELECT h.overrun FROM billing_holds h WHERE h.id = e.hold_id), told
        FROM unnest(events) WITH ORDINALITY AS c
        JOIN usage_events e ON e.request_id = c.request_id AND e.attempt = c.attempt;
END $$;

-- Steps that periods have reached and nobody was told of; each comes back once, ever.
CREATE FUNCTION billing_alert(period_ids uuid[]) RETURNS jsonb LANGUAGE sql AS $$
    WITH news AS (
        INSERT INTO billing_budget_alerts (id, period_id, kind, step, spent)
        SELECT gen_random_uuid(), p.id, reached.kind, reached.step, p.spent
        FROM billing_budget_periods p JOIN billing_budgets b ON b.id = p.budget_id
        CROSS JOIN LATERAL (
            SELECT 'step' AS kind, one.step FROM unnest(b.alert_steps) AS one(step)
            WHERE p.spent * 100 >= coalesce(b.hard, b.soft) * one.step AND p.spent > 0
            UNION ALL
            SELECT 'soft', 0::smallint WHERE b.soft IS NOT NULL AND p.spent >= b.soft
        ) AS reached
        WHERE p.id = ANY(period_ids)
        ORDER BY p.id, reached.kind, reached.step
        ON CONFLICT DO NOTHING RETURNING id, period_id, kind, step
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'alert_id', n.id, 'budget_id', p.budget_id, 'organization_id', b.customer_id,
        'kind', n.kind, 'step', n.step)), '[]')
    FROM news n JOIN billing_budget_periods p ON p.id = n.period_id
    JOIN billing_budgets b ON b.id = p.budget_id
$$;
"""
SETTLE_BACK = """
DROP FUNCTION billing_settle(jsonb);
DROP FUNCTION billing_alert(uuid[]);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0007_extend_and_release")]

    operations = [
        migrations.RunSQL(EVENTS, EVENTS_BACK),
        migrations.RunSQL(POST, POST_BACK),
        migrations.RunSQL(SETTLE, SETTLE_BACK),
    ]
