"""Approvals beyond a hard limit: asked for by the refusal, granted once, in one window alone.

`billing_admit` counts what was granted and opens an approval where a budget's `on_hard` is
`approve`; the functions that call it (migrations 0006 and 0007) hand its id on. Inherited limits
are copies that the database keeps, so nothing that reads a budget has to know of them.
"""

from importlib import import_module

from django.db import migrations

RESERVE_BEFORE = import_module("billing.migrations.0006_reserve")
EXTEND_BEFORE = import_module("billing.migrations.0007_extend_and_release")

DROP = """
DROP FUNCTION billing_extend(jsonb);
DROP FUNCTION billing_reserve(jsonb);
DROP FUNCTION billing_reserve_all(jsonb, timestamptz);
DROP FUNCTION billing_admit(uuid, boolean, uuid[], numeric, numeric);
"""
DROP_BACK = DROP.replace("numeric, numeric);", "numeric, numeric, boolean);")
BEFORE = "".join(
    (
        RESERVE_BEFORE.ADMIT,
        RESERVE_BEFORE.ALL[RESERVE_BEFORE.ALL.index("CREATE FUNCTION billing_reserve_all") :],
        RESERVE_BEFORE.RESERVE,
        EXTEND_BEFORE.EXTEND,
    )
)

FUNCTIONS = """
CREATE FUNCTION billing_admit(
    payer uuid, pays boolean, period_ids uuid[], bound numeric, expected numeric,
    is_running boolean, OUT amount numeric, OUT headroom numeric, OUT refusal text,
    OUT limit_source text, OUT limit_id uuid, OUT resets_at timestamptz, OUT degrade_to text,
    OUT approval_id uuid
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
    SELECT p.id AS period_id, p.budget_id, p.ends_at, p.spent, p.held, b.degrade_to, b.on_hard,
           b.hard + p.granted AS hard, b.hard + p.granted - p.spent - p.held AS room
    INTO tight
    FROM billing_budget_periods p JOIN billing_budgets b ON b.id = p.budget_id
    WHERE p.id = ANY(period_ids) AND b.hard IS NOT NULL
    ORDER BY b.hard + p.granted - p.spent - p.held, p.id LIMIT 1;
    is_rich := is_rich AND (tight.room IS NULL OR tight.room >= 20 * expected);
    amount := CASE WHEN is_rich THEN least(expected, bound) ELSE bound END;
    IF tight.room < amount THEN
        refusal := CASE
            WHEN amount > tight.hard THEN 'exceeds_limit'
            WHEN tight.spent + amount <= tight.hard AND tight.held > 0 AND NOT is_running
                THEN 'in_flight_exhausted'
            ELSE 'budget_exceeded' END;
        limit_source := 'budget'; limit_id := tight.budget_id;
        resets_at := tight.ends_at; degrade_to := nullif(tight.degrade_to, '');
        -- What runs may give the money back; only where it cannot, somebody is asked for more.
        -- (What is in flight of a running call is this very call.)
        IF tight.on_hard = 'approve' AND refusal <> 'in_flight_exhausted' THEN
            INSERT INTO billing_budget_approvals AS a (id, period_id, needs, state, granted)
            VALUES (gen_random_uuid(), tight.period_id, amount - tight.room, 'open', 0)
            ON CONFLICT (period_id) WHERE state = 'open'
            DO UPDATE SET needs = greatest(a.needs, excluded.needs)
            RETURNING a.id INTO approval_id;
        END IF;
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

CREATE FUNCTION billing_reserve_all(calls jsonb, moment timestamptz) RETURNS TABLE (
    ord integer, hold_id uuid, state text, amount numeric, dispatched_at timestamptz,
    is_replay boolean, refusal text, limit_source text, limit_id uuid, resets_at timestamptz,
    degrade_to text, approval_id uuid
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
            NULL::timestamptz, NULL::text, NULL::uuid
        FROM billing_calls(calls) AS c;
END $$;

CREATE FUNCTION billing_reserve(calls jsonb) RETURNS TABLE (
    ord integer, hold_id uuid, state text, amount numeric, dispatched_at timestamptz,
    is_replay boolean, refusal text, limit_source text, limit_id uuid, resets_at timestamptz,
    degrade_to text, approval_id uuid
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
            'no_customer', NULL::text, NULL::uuid, NULL::timestamptz, NULL::text, NULL::uuid;
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
                NULL::timestamptz, NULL::text, NULL::uuid;
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
            c.organization_id, c.billing_mode = 'platform', period_ids, c.bound, c.expected,
            false);
        IF verdict.refusal IS NOT NULL THEN
            RETURN QUERY SELECT c.ord, NULL::uuid, NULL::text, verdict.amount, NULL::timestamptz,
                false, verdict.refusal, verdict.limit_source, verdict.limit_id,
                verdict.resets_at, verdict.degrade_to, verdict.approval_id;
            CONTINUE;
        END IF;
        PERFORM billing_insert_holds(
            c.alone, ARRAY[c.ord], moment, ARRAY[verdict.amount], ARRAY[verdict.headroom],
            period_ids);
        RETURN QUERY SELECT c.ord, c.hold_id,
            CASE WHEN c.is_dispatched THEN 'dispatched' ELSE 'pending' END,
            CASE WHEN c.billing_mode = 'platform' THEN verdict.amount ELSE 0 END,
            CASE WHEN c.is_dispatched THEN moment END, false, NULL::text, NULL::text, NULL::uuid,
            NULL::timestamptz, NULL::text, NULL::uuid;
    END LOOP;
END $$;

CREATE FUNCTION billing_extend(wanted jsonb) RETURNS TABLE (
    ord integer, amount numeric, refusal text, limit_source text, limit_id uuid,
    resets_at timestamptz, degrade_to text, approval_id uuid
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one record;
    h billing_holds;
    verdict record;
BEGIN
    PERFORM 1 FROM billing_holds b WHERE b.id IN (
        SELECT w.hold_id FROM jsonb_to_recordset(wanted) AS w(hold_id uuid))
    ORDER BY b.id FOR NO KEY UPDATE;
    PERFORM 1 FROM billing_budget_periods p WHERE p.id IN (
        SELECT unnest(b.budget_period_ids) FROM billing_holds b WHERE b.id IN (
            SELECT w.hold_id FROM jsonb_to_recordset(wanted) AS w(hold_id uuid)))
    ORDER BY p.id FOR NO KEY UPDATE;
    PERFORM 1 FROM billing_ledger_accounts a WHERE a.kind = 'wallet' AND a.customer_id IN (
        SELECT b.customer_id FROM billing_holds b WHERE b.billing_mode = 'platform' AND b.id IN (
            SELECT w.hold_id FROM jsonb_to_recordset(wanted) AS w(hold_id uuid)))
    ORDER BY a.id FOR NO KEY UPDATE;
    FOR one IN SELECT * FROM jsonb_to_recordset(wanted)
            AS w(ord integer, hold_id uuid, amount numeric) ORDER BY w.ord LOOP
        SELECT * INTO h FROM billing_holds b WHERE b.id = one.hold_id;
        IF NOT FOUND OR h.state NOT IN ('pending', 'dispatched') THEN
            RETURN QUERY SELECT one.ord, NULL::numeric, 'hold_ended', 'hold', one.hold_id,
                NULL::timestamptz, NULL::text, NULL::uuid;
        ELSIF one.amount <= h.budget_amount THEN
            RETURN QUERY SELECT one.ord, h.budget_amount, NULL::text, NULL::text, NULL::uuid,
                NULL::timestamptz, NULL::text, NULL::uuid;
        ELSE
            SELECT * INTO verdict FROM billing_admit(
                h.customer_id, h.billing_mode = 'platform', h.budget_period_ids,
                one.amount - h.budget_amount, one.amount - h.budget_amount, true);
            IF verdict.refusal IS NULL THEN
                UPDATE billing_holds b SET
                    amount = CASE WHEN h.billing_mode = 'platform' THEN one.amount ELSE 0 END,
                    budget_amount = one.amount, headroom = verdict.headroom
                WHERE b.id = h.id;
            END IF;
            -- What is in flight is this very call: waiting for it would help nobody.
            RETURN QUERY SELECT one.ord,
                CASE WHEN verdict.refusal IS NULL THEN one.amount ELSE h.budget_amount END,
                CASE WHEN verdict.refusal IN ('in_flight_exhausted', 'exceeds_limit')
                    THEN CASE verdict.limit_source WHEN 'budget' THEN 'budget_exceeded'
                                                   ELSE 'insufficient_credits' END
                    ELSE verdict.refusal END, verdict.limit_source, verdict.limit_id,
                verdict.resets_at, verdict.degrade_to, verdict.approval_id;
        END IF;
    END LOOP;
END $$;
"""

APPROVALS = """
CREATE FUNCTION billing_keep_budget_approval() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_budget_approvals;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'open' THEN
            RAISE EXCEPTION 'an approval begins open' USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    was := OLD;
    IF NEW.state = 'open' THEN
        was.needs := NEW.needs;
    ELSE
        was.state := NEW.state;
        was.granted := NEW.granted;
        was.decided_by_id := NEW.decided_by_id;
        was.decided_at := NEW.decided_at;
    END IF;
    IF OLD.state <> 'open' OR NEW *<> was THEN
        RAISE EXCEPTION 'an approval is decided once' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.state = 'granted' THEN
        UPDATE billing_budget_periods p SET granted = p.granted + NEW.granted
        WHERE p.id = NEW.period_id AND (p.ends_at IS NULL OR p.ends_at > now());
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the window is over' USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_budget_approval BEFORE INSERT OR UPDATE ON billing_budget_approvals
    FOR EACH ROW EXECUTE FUNCTION billing_keep_budget_approval();
CREATE TRIGGER refuse_delete BEFORE DELETE ON billing_budget_approvals
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_budget_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();

CREATE FUNCTION billing_keep_granted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        RAISE EXCEPTION 'only an approval grants more' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_granted BEFORE UPDATE OF granted ON billing_budget_periods
    FOR EACH ROW WHEN (NEW.granted <> OLD.granted) EXECUTE FUNCTION billing_keep_granted();
CREATE TRIGGER begin_ungranted BEFORE INSERT ON billing_budget_periods
    FOR EACH ROW WHEN (NEW.granted <> 0) EXECUTE FUNCTION billing_keep_granted();
"""
APPROVALS_BACK = """
DROP TRIGGER begin_ungranted ON billing_budget_periods;
DROP TRIGGER keep_granted ON billing_budget_periods;
DROP FUNCTION billing_keep_granted();
DROP TRIGGER refuse_truncate ON billing_budget_approvals;
DROP TRIGGER refuse_delete ON billing_budget_approvals;
DROP TRIGGER keep_budget_approval ON billing_budget_approvals;
DROP FUNCTION billing_keep_budget_approval();
"""

# One step only: a budget that gives its limit away has one of its own.
INHERITED = """
CREATE FUNCTION billing_take_limit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    giver billing_budgets;
BEGIN
    SELECT * INTO giver FROM billing_budgets b WHERE b.id = NEW.inherit_from_id FOR SHARE;
    IF giver.id = NEW.id OR giver.customer_id <> NEW.customer_id
       OR giver.inherit_from_id IS NOT NULL
       OR EXISTS (SELECT 1 FROM billing_budgets b
                  WHERE b.inherit_from_id = NEW.id AND b.deleted_at IS NULL)
       OR giver.deleted_at IS NOT NULL AND NEW.deleted_at IS NULL THEN
        RAISE EXCEPTION '% cannot take its limit from %', NEW.id, NEW.inherit_from_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'budgets_inherit';
    END IF;
    NEW.hard := giver.hard;
    NEW.soft := giver.soft;
    RETURN NEW;
END $$;
CREATE TRIGGER take_limit BEFORE INSERT OR UPDATE ON billing_budgets
    FOR EACH ROW WHEN (NEW.inherit_from_id IS NOT NULL AND NEW.deleted_at IS NULL)
    EXECUTE FUNCTION billing_take_limit();

CREATE FUNCTION billing_give_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.deleted_at IS NOT NULL AND EXISTS (
        SELECT 1 FROM billing_budgets b
        WHERE b.inherit_from_id = NEW.id AND b.deleted_at IS NULL) THEN
        RAISE EXCEPTION 'other budgets take their limit from %', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'budgets_inherit';
    END IF;
    UPDATE billing_budgets b SET hard = NEW.hard, soft = NEW.soft, updated_at = NEW.updated_at
    WHERE b.inherit_from_id = NEW.id AND b.deleted_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER give_limit AFTER UPDATE ON billing_budgets
    FOR EACH ROW WHEN ((NEW.hard, NEW.soft, NEW.deleted_at) IS DISTINCT FROM
                       (OLD.hard, OLD.soft, OLD.deleted_at))
    EXECUTE FUNCTION billing_give_limit();
"""
INHERITED_BACK = """
DROP TRIGGER give_limit ON billing_budgets;
DROP FUNCTION billing_give_limit();
DROP TRIGGER take_limit ON billing_budgets;
DROP FUNCTION billing_take_limit();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0022_budget_approvals")]

    operations = [
        migrations.RunSQL(APPROVALS, APPROVALS_BACK),
        migrations.RunSQL(INHERITED, INHERITED_BACK),
        migrations.RunSQL(DROP + FUNCTIONS, DROP_BACK + BEFORE),
    ]
