"""Raising a hold in the middle of an answer, and giving reserved money back.

Whoever raises or ends a hold locks it first, so a settlement, a void and a sweep cannot meet.
"""

from django.db import migrations

RELEASE = """
-- What live holds reserve leaves their periods and wallets; the holds are locked by the caller.
CREATE FUNCTION billing_free(hold_ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM billing_budget_periods p WHERE p.id IN (
        SELECT unnest(h.budget_period_ids) FROM billing_holds h WHERE h.id = ANY(hold_ids))
    ORDER BY p.id FOR NO KEY UPDATE;
    PERFORM 1 FROM billing_ledger_accounts a WHERE a.kind = 'wallet' AND a.customer_id IN (
        SELECT h.customer_id FROM billing_holds h
        WHERE h.id = ANY(hold_ids) AND h.amount > 0)
    ORDER BY a.id FOR NO KEY UPDATE;
    UPDATE billing_budget_periods p SET held = p.held - freed.amount
    FROM (SELECT one.id, sum(h.budget_amount) AS amount
          FROM billing_holds h CROSS JOIN LATERAL unnest(h.budget_period_ids) AS one(id)
          WHERE h.id = ANY(hold_ids) AND h.state IN ('pending', 'dispatched') GROUP BY one.id
    ) AS freed WHERE p.id = freed.id AND freed.amount > 0;
    UPDATE billing_ledger_accounts a SET held = a.held - freed.amount
    FROM (SELECT h.customer_id, sum(h.amount) AS amount FROM billing_holds h
          WHERE h.id = ANY(hold_ids) AND h.state IN ('pending', 'dispatched')
          GROUP BY h.customer_id
    ) AS freed WHERE a.customer_id = freed.customer_id AND a.kind = 'wallet' AND freed.amount > 0;
END $$;

CREATE FUNCTION billing_release(hold_ids uuid[], ending text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    ids := ARRAY(
        SELECT h.id FROM billing_holds h
        WHERE h.id = ANY(hold_ids) AND h.state IN ('pending', 'dispatched')
        ORDER BY h.id FOR NO KEY UPDATE);
    PERFORM billing_free(ids);
    UPDATE billing_holds h SET state = ending, ended_at = clock_timestamp() WHERE h.id = ANY(ids);
    RETURN cardinality(ids);
END $$;
"""
RELEASE_BACK = """
DROP FUNCTION billing_release(uuid[], text);
DROP FUNCTION billing_free(uuid[]);
"""

EXTEND = """
CREATE FUNCTION billing_extend(wanted jsonb) RETURNS TABLE (
    ord integer, amount numeric, refusal text, limit_source text, limit_id uuid,
    resets_at timestamptz, degrade_to text
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
                NULL::timestamptz, NULL::text;
        ELSIF one.amount <= h.budget_amount THEN
            RETURN QUERY SELECT one.ord, h.budget_amount, NULL::text, NULL::text, NULL::uuid,
                NULL::timestamptz, NULL::text;
        ELSE
            SELECT * INTO verdict FROM billing_admit(
                h.customer_id, h.billing_mode = 'platform', h.budget_period_ids,
                one.amount - h.budget_amount, one.amount - h.budget_amount);
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
                    ELSE verdict.refusal END, verdict.limit_source, verdict.limit_id, verdict.resets_at,
                verdict.degrade_to;
        END IF;
    END LOOP;
END $$;
"""
EXTEND_BACK = "DROP FUNCTION billing_extend(jsonb);"


class Migration(migrations.Migration):
    dependencies = [("billing", "0006_reserve")]

    operations = [
        migrations.RunSQL(RELEASE, RELEASE_BACK),
        migrations.RunSQL(EXTEND, EXTEND_BACK),
    ]
