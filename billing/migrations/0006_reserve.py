"""Reserving money: one function call per batch of calls, one transaction.

Locks are taken in one order everywhere: holds, budget periods, wallets, lots, each ascending.
`billing_admit` decides for one call whose rows are locked; `billing_reserve` and `billing_extend`
are its only callers. Why functions, and what they cost: docs/decisions/0021-money-in-functions.md.
"""

from django.db import migrations

ADMIT = """
CREATE FUNCTION billing_admit(
    payer uuid, pays boolean, period_ids uuid[], bound numeric, expected numeric,
    OUT amount numeric, OUT headroom numeric, OUT refusal text, OUT limit_source text,
    OUT limit_id uuid, OUT resets_at timestamptz, OUT degrade_to text
) LANGUAGE plpgsql AS $$
DECLARE
    customer billing_customers;
    has numeric;
    reserved numeric;
    tight record;
    is_rich boolean := true;
BEGIN
    IF pays THEN
        SELECT * INTO customer FROM billing_customers WHERE organization_id = payer;
        IF customer.status <> 'active' THEN
            refusal := 'customer_' || customer.status;
            limit_source := 'customer'; limit_id := payer;
            RETURN;
        END IF;
        SELECT sum(posted) + customer.postpaid_limit, sum(held) INTO has, reserved
        FROM billing_ledger_accounts WHERE customer_id = payer;
        is_rich := has - reserved >= 20 * expected;
    END IF;
    -- The fullest of the periods decides for all: least room first.
    SELECT p.budget_id, p.ends_at, p.spent, p.held, b.hard, b.degrade_to,
           b.hard - p.spent - p.held AS room
    INTO tight
    FROM billing_budget_periods p JOIN billing_budgets b ON b.id = p.budget_id
    WHERE p.id = ANY(period_ids) AND b.hard IS NOT NULL
    ORDER BY b.hard - p.spent - p.held, p.id LIMIT 1;
    is_rich := is_rich AND (tight.room IS NULL OR tight.room >= 20 * expected);
    amount := CASE WHEN is_rich THEN least(expected, bound) ELSE bound END;
    IF tight.room < amount THEN
        refusal := CASE
            WHEN amount > tight.hard THEN 'exceeds_limit'
            WHEN tight.spent + amount <= tight.hard AND tight.held > 0 THEN 'in_flight_exhausted'
            ELSE 'budget_exceeded' END;
        limit_source := 'budget'; limit_id := tight.budget_id;
        resets_at := tight.ends_at; degrade_to := nullif(tight.degrade_to, '');
        RETURN;
    END IF;
    IF pays AND amount > 0 AND has - reserved < amount THEN
        refusal := CASE WHEN has >= amount AND reserved > 0
            THEN 'in_flight_exhausted' ELSE 'insufficient_credits' END;
        limit_source := 'wallet'; limit_id := payer;
        RETURN;
    END IF;
    UPDATE billing_budget_periods p SET held = p.held + billing_admit.amount
    WHERE p.id = ANY(period_ids);
    IF pays AND amount > 0 THEN
        headroom := has - reserved - amount;
        UPDATE billing_ledger_accounts a SET held = a.held + billing_admit.amount
        WHERE a.customer_id = payer AND a.kind = 'wallet';
    END IF;
END $$;
"""
ADMIT_BACK = "DROP FUNCTION billing_admit(uuid, boolean, uuid[], numeric, numeric);"

RESERVE = """
CREATE FUNCTION billing_reserve(calls jsonb) RETURNS TABLE (
    ord integer, hold_id uuid, state text, amount numeric, dispatched_at timestamptz,
    is_replay boolean, refusal text, limit_source text, limit_id uuid, resets_at timestamptz,
    degrade_to text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    has_budgets boolean;
    c record;
    known record;
    verdict record;
    period_ids uuid[];
BEGIN
    IF EXISTS (SELECT 1 FROM billing_calls(calls) AS w WHERE NOT EXISTS (
            SELECT 1 FROM billing_ledger_accounts a
            WHERE a.customer_id = w.organization_id AND a.kind = 'wallet')) THEN
        RETURN QUERY SELECT 0, NULL::uuid, NULL::text, NULL::numeric, NULL::timestamptz, false,
            'no_customer', NULL::text, NULL::uuid, NULL::timestamptz, NULL::text;
        RETURN;
    END IF;
    has_budgets := EXISTS (
        SELECT 1 FROM billing_budgets b WHERE b.is_enabled AND b.deleted_at IS NULL
        AND b.customer_id IN (SELECT w.organization_id FROM billing_calls(calls) AS w));
    IF has_budgets THEN
        INSERT INTO billing_budget_periods
            (id, budget_id, subject, starts_at, ends_at, spent, held)
        SELECT gen_random_uuid(), m.budget_id, m.subject, m.starts_at, m.ends_at, 0, 0
        FROM (SELECT DISTINCT n.budget_id, n.subject, n.starts_at, n.ends_at
              FROM billing_budgets_of(calls, moment) AS n) AS m
        WHERE NOT EXISTS (
            SELECT 1 FROM billing_budget_periods p WHERE p.budget_id = m.budget_id
            AND p.subject = m.subject AND p.starts_at = m.starts_at)
        ORDER BY m.budget_id, m.subject, m.starts_at
        ON CONFLICT DO NOTHING;
        PERFORM 1 FROM billing_budget_periods p WHERE p.id IN (
            SELECT q.id FROM billing_budgets_of(calls, moment) AS m
            JOIN billing_budget_periods q ON q.budget_id = m.budget_id
                AND q.subject = m.subject AND q.starts_at = m.starts_at)
        ORDER BY p.id FOR NO KEY UPDATE;
    END IF;
    PERFORM 1 FROM billing_ledger_accounts a
    WHERE a.kind = 'wallet' AND a.customer_id IN (
        SELECT w.organization_id FROM billing_calls(calls) AS w WHERE w.billing_mode = 'platform')
    ORDER BY a.id FOR NO KEY UPDATE;

    IF NOT has_budgets AND billing_all_fit(calls) THEN
        RETURN QUERY SELECT * FROM billing_reserve_all(calls, moment);
        RETURN;
    END IF;

    FOR c IN SELECT w.*, jsonb_build_array(item) AS alone
            FROM jsonb_array_elements(calls) AS item
            CROSS JOIN LATERAL billing_calls(jsonb_build_array(item)) AS w ORDER BY w.ord LOOP
        ord := c.ord;
        SELECT h.id, h.state::text AS state, h.amount, h.dispatched_at INTO known
        FROM billing_holds h
        WHERE h.request_id = c.request_id AND h.attempt = c.attempt;
        IF NOT FOUND THEN
            SELECT coalesce(e.hold_id, e.id) AS id, 'settled'::text AS state,
                   e.billed_cost AS amount, e.occurred_at AS dispatched_at
            INTO known FROM usage_events e
            WHERE e.request_id = c.request_id AND e.attempt = c.attempt;
        END IF;
        IF FOUND THEN
            RETURN QUERY SELECT c.ord, known.id, known.state, known.amount,
                known.dispatched_at, true, NULL::text, NULL::text, NULL::uuid,
                NULL::timestamptz, NULL::text;
            CONTINUE;
        END IF;
        period_ids := '{}';
        IF has_budgets THEN
            period_ids := ARRAY(
                SELECT p.id FROM billing_budgets_of(c.alone, moment) AS m
                JOIN billing_budget_periods p ON p.budget_id = m.budget_id
                    AND p.subject = m.subject AND p.starts_at = m.starts_at
                ORDER BY p.id);
        END IF;
        SELECT * INTO verdict FROM billing_admit(
            c.organization_id, c.billing_mode = 'platform', period_ids, c.bound, c.expected);
        IF verdict.refusal IS NOT NULL THEN
            RETURN QUERY SELECT c.ord, NULL::uuid, NULL::text, verdict.amount, NULL::timestamptz,
                false, verdict.refusal, verdict.limit_source, verdict.limit_id,
                verdict.resets_at, verdict.degrade_to;
            CONTINUE;
        END IF;
        PERFORM billing_insert_holds(
            c.alone, ARRAY[c.ord], moment, ARRAY[verdict.amount], ARRAY[verdict.headroom],
            period_ids);
        RETURN QUERY SELECT c.ord, c.hold_id,
            CASE WHEN c.is_dispatched THEN 'dispatched' ELSE 'pending' END,
            CASE WHEN c.billing_mode = 'platform' THEN verdict.amount ELSE 0 END,
            CASE WHEN c.is_dispatched THEN moment END, false, NULL::text, NULL::text, NULL::uuid,
            NULL::timestamptz, NULL::text;
    END LOOP;
END $$;
"""
RESERVE_BACK = "DROP FUNCTION billing_reserve(jsonb);"

# The quick way of a batch that holds no repetition, no budget and no poor wallet: by whole sets.
ALL = """
CREATE FUNCTION billing_insert_holds(
    calls jsonb, ords integer[], moment timestamptz, amounts numeric[], rooms numeric[],
    periods uuid[]
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO billing_holds (
        id, request_id, attempt, customer_id, state, amount, budget_amount, budget_period_ids,
        headroom, price_version_id, provider_id, provider_type, billing_mode, operation, model,
        requested_model, workspace_id, user_id, api_key_id, agent_id, conversation_id, run_id,
        input_ratio, output_ratio, dispatched_at, expires_at, input_bytes, output_bytes,
        served_model, service_tier, provider_request_id, overrun)
    SELECT c.hold_id, c.request_id, c.attempt, c.organization_id,
        CASE WHEN c.is_dispatched THEN 'dispatched' ELSE 'pending' END,
        CASE WHEN c.billing_mode = 'platform' THEN one.amount ELSE 0 END, one.amount,
        periods, one.room, c.price_version_id, c.provider_id, c.provider_type, c.billing_mode,
        c.operation, c.model, c.requested_model, c.workspace_id, c.user_id, c.api_key_id,
        c.agent_id, c.conversation_id, c.run_id, c.input_ratio, c.output_ratio,
        CASE WHEN c.is_dispatched THEN moment END, moment + make_interval(secs => c.lease_s),
        c.input_bytes, 0, '', 'standard', '', 0
    FROM billing_calls(calls) AS c
    JOIN unnest(ords, amounts, rooms) AS one(ord, amount, room) ON one.ord = c.ord
    ORDER BY c.request_id, c.attempt
$$;

CREATE FUNCTION billing_all_fit(calls jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (
        SELECT 1 FROM billing_calls(calls) AS c
        GROUP BY c.request_id, c.attempt HAVING count(*) > 1
    ) AND NOT EXISTS (
        SELECT 1 FROM billing_calls(calls) AS c
        WHERE EXISTS (SELECT 1 FROM billing_holds h
                      WHERE h.request_id = c.request_id AND h.attempt = c.attempt)
           OR EXISTS (SELECT 1 FROM usage_events e
                      WHERE e.request_id = c.request_id AND e.attempt = c.attempt)
    ) AND NOT EXISTS (
        SELECT 1 FROM (
            SELECT c.organization_id, sum(c.expected) AS asked, max(c.expected) AS most
            FROM billing_calls(calls) AS c WHERE c.billing_mode = 'platform' GROUP BY 1
        ) AS want
        JOIN billing_customers cu ON cu.organization_id = want.organization_id
        WHERE cu.status <> 'active' OR cu.postpaid_limit + (
            SELECT sum(a.posted - a.held) FROM billing_ledger_accounts a
            WHERE a.customer_id = want.organization_id) - want.asked < 20 * want.most
    )
$$;

CREATE FUNCTION billing_reserve_all(calls jsonb, moment timestamptz) RETURNS TABLE (
    ord integer, hold_id uuid, state text, amount numeric, dispatched_at timestamptz,
    is_replay boolean, refusal text, limit_source text, limit_id uuid, resets_at timestamptz,
    degrade_to text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    ords integer[];
    amounts numeric[];
    rooms numeric[];
BEGIN
    SELECT array_agg(g.ord ORDER BY g.ord), array_agg(g.amount ORDER BY g.ord),
           array_agg(CASE WHEN g.pays AND g.amount > 0 THEN g.room END ORDER BY g.ord)
    INTO ords, amounts, rooms
    FROM (
        SELECT c.ord, c.billing_mode = 'platform' AS pays, least(c.expected, c.bound) AS amount,
            w.has - sum(CASE WHEN c.billing_mode = 'platform'
                             THEN least(c.expected, c.bound) ELSE 0 END)
                OVER (PARTITION BY c.organization_id ORDER BY c.ord) AS room
        FROM billing_calls(calls) AS c
        JOIN (SELECT cu.organization_id,
                     cu.postpaid_limit + sum(a.posted - a.held) AS has
              FROM billing_customers cu
              JOIN billing_ledger_accounts a ON a.customer_id = cu.organization_id
              WHERE cu.organization_id IN (
                  SELECT b.organization_id FROM billing_calls(calls) AS b)
              GROUP BY cu.organization_id) AS w ON w.organization_id = c.organization_id
    ) AS g;
    UPDATE billing_ledger_accounts a SET held = a.held + want.asked
    FROM (SELECT c.organization_id, sum(least(c.expected, c.bound)) AS asked
          FROM billing_calls(calls) AS c WHERE c.billing_mode = 'platform' GROUP BY 1) AS want
    WHERE a.customer_id = want.organization_id AND a.kind = 'wallet' AND want.asked > 0;
    PERFORM billing_insert_holds(calls, ords, moment, amounts, rooms, '{}');
    RETURN QUERY
        SELECT c.ord, c.hold_id, CASE WHEN c.is_dispatched THEN 'dispatched' ELSE 'pending' END,
            CASE WHEN c.billing_mode = 'platform' THEN least(c.expected, c.bound) ELSE 0 END,
            CASE WHEN c.is_dispatched THEN moment END, false, NULL::text, NULL::text, NULL::uuid,
            NULL::timestamptz, NULL::text
        FROM billing_calls(calls) AS c;
END $$;
"""
ALL_BACK = """
DROP FUNCTION billing_reserve_all(jsonb, timestamptz);
DROP FUNCTION billing_all_fit(jsonb);
DROP FUNCTION billing_insert_holds(
    jsonb, integer[], timestamptz, numeric[], numeric[], uuid[]);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_budget_windows")]

    operations = [
        migrations.RunSQL(ADMIT, ADMIT_BACK),
        migrations.RunSQL(ALL, ALL_BACK),
        migrations.RunSQL(RESERVE, RESERVE_BACK),
    ]
