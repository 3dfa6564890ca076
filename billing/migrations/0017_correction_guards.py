"""Corrections that never change, the view of events with them, sums that follow purged links."""

from django.db import migrations

XID = """
ALTER TABLE billing_usage_corrections
    ADD COLUMN commit_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX usage_corrections_commit ON billing_usage_corrections (commit_xid);
INSERT INTO billing_rollup_watermark (id, folded_before) VALUES (1, '0');
"""
XID_BACK = """
DROP INDEX usage_corrections_commit;
ALTER TABLE billing_usage_corrections DROP COLUMN commit_xid;
DELETE FROM billing_rollup_watermark;
"""

KEPT = """
CREATE FUNCTION billing_check_correction() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    event usage_events;
    was billing_usage_corrections;
BEGIN
    SELECT * INTO event FROM usage_events WHERE id = NEW.event_id FOR NO KEY UPDATE;
    SELECT sum(delta_tokens_input), sum(delta_tokens_output), sum(delta_tokens_cache_read),
        sum(delta_tokens_cache_write), sum(delta_tokens_reasoning), sum(delta_estimated_cost),
        sum(delta_billed_cost), bool_or(gives_price)
    INTO was.delta_tokens_input, was.delta_tokens_output, was.delta_tokens_cache_read,
        was.delta_tokens_cache_write, was.delta_tokens_reasoning, was.delta_estimated_cost,
        was.delta_billed_cost, was.gives_price
    FROM (SELECT c.* FROM billing_usage_corrections c WHERE c.event_id = NEW.event_id
          UNION ALL SELECT NEW.*) AS c;
    IF event.billed_cost + was.delta_billed_cost < 0
        OR coalesce(event.estimated_cost, 0) + was.delta_estimated_cost < 0
        OR event.tokens_cache_read + was.delta_tokens_cache_read < 0
        OR event.tokens_cache_write + was.delta_tokens_cache_write < 0
        OR event.tokens_reasoning + was.delta_tokens_reasoning < 0
        OR event.tokens_input + was.delta_tokens_input
           < event.tokens_cache_read + was.delta_tokens_cache_read
             + event.tokens_cache_write + was.delta_tokens_cache_write
        OR event.tokens_output + was.delta_tokens_output
           < event.tokens_reasoning + was.delta_tokens_reasoning
    THEN
        RAISE EXCEPTION 'corrections of event % leave less than nothing', NEW.event_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_corrections_leave_something';
    END IF;
    IF event.billing_mode <> 'platform' AND (NEW.delta_billed_cost <> 0 OR NEW.txn_id IS NOT NULL)
    THEN
        RAISE EXCEPTION 'event % moved no money', NEW.event_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_corrections_own_key_is_free';
    END IF;
    IF (event.estimated_cost IS NULL AND NEW.delta_estimated_cost <> 0 AND NOT was.gives_price)
        OR (event.estimated_cost IS NOT NULL AND NEW.gives_price)
    THEN
        RAISE EXCEPTION 'event % is priced once', NEW.event_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'usage_corrections_price_once';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER check_correction BEFORE INSERT ON billing_usage_corrections
    FOR EACH ROW EXECUTE FUNCTION billing_check_correction();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON billing_usage_corrections
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_usage_corrections
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_delete BEFORE DELETE ON billing_rollup_watermark
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_rollup_watermark
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
KEPT_BACK = """
DROP TRIGGER refuse_truncate ON billing_rollup_watermark;
DROP TRIGGER refuse_delete ON billing_rollup_watermark;
DROP TRIGGER refuse_truncate ON billing_usage_corrections;
DROP TRIGGER refuse_change ON billing_usage_corrections;
DROP TRIGGER check_correction ON billing_usage_corrections;
DROP FUNCTION billing_check_correction();
"""

VIEW = """
CREATE VIEW usage_effective AS
SELECT e.id AS event_id, 0 AS number, e.customer_id, e.provider_id, e.user_id, e.workspace_id,
    e.api_key_id, e.agent_id, e.conversation_id, e.run_id, e.request_id, e.model, e.provider_type,
    e.billing_mode, e.source, e.outcome, e.status, e.occurred_at,
    e.estimated_cost AS event_cost, e.commit_xid,
    1::bigint AS requests,
    (e.outcome IN ('provider_error', 'timeout', 'crash_recovered'))::int::bigint
        AS failed_requests,
    (e.estimated_cost IS NULL)::int::bigint AS unpriced_requests,
    e.tokens_input, e.tokens_output, e.tokens_cache_read, e.tokens_cache_write, e.tokens_reasoning,
    coalesce(e.estimated_cost, 0) AS estimated_cost, e.billed_cost,
    CASE WHEN e.billing_mode = 'byok' THEN coalesce(e.estimated_cost, 0) ELSE 0 END
        AS byok_estimated_cost,
    e.saved_by_cache
FROM usage_events e
UNION ALL
SELECT e.id, c.number, e.customer_id, e.provider_id, e.user_id, e.workspace_id,
    e.api_key_id, e.agent_id, e.conversation_id, e.run_id, e.request_id, e.model, e.provider_type,
    e.billing_mode, e.source, e.outcome, e.status, e.occurred_at,
    e.estimated_cost, c.commit_xid,
    0, 0, -(c.gives_price::int),
    c.delta_tokens_input, c.delta_tokens_output, c.delta_tokens_cache_read,
    c.delta_tokens_cache_write, c.delta_tokens_reasoning,
    c.delta_estimated_cost, c.delta_billed_cost,
    CASE WHEN e.billing_mode = 'byok' THEN c.delta_estimated_cost ELSE 0 END,
    c.delta_saved_by_cache
FROM billing_usage_corrections c JOIN usage_events e ON e.id = c.event_id;
"""
VIEW_BACK = "DROP VIEW usage_effective;"

SUMS = (
    "requests",
    "failed_requests",
    "unpriced_requests",
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_reasoning",
    "estimated_cost",
    "billed_cost",
    "byok_estimated_cost",
    "saved_by_cache",
)
NAMES = ", ".join(SUMS)
SIGNED = ", ".join(f"sum(side.sign * u.{name})" for name in SUMS)
ADDED = ", ".join(f"{name} = d.{name} + excluded.{name}" for name in SUMS)

# A purged user or workspace leaves its events behind without the link; what was summed under its
# key moves along. The watermark's lock keeps the folder out until both are committed.
MOVES = f"""
CREATE FUNCTION billing_move_rollups() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mark xid8;
BEGIN
    SELECT folded_before INTO mark FROM billing_rollup_watermark FOR NO KEY UPDATE;
    INSERT INTO usage_daily AS d (customer_id, dimension, day, key, {NAMES})
    SELECT u.customer_id, side.dimension, (u.occurred_at AT TIME ZONE 'UTC')::date, side.key,
        {SIGNED}
    FROM were JOIN usage_effective u ON u.event_id = were.id AND u.commit_xid < mark
    CROSS JOIN LATERAL (VALUES
        ('user', coalesce(were.user_id::text, ''), -1),
        ('user', coalesce(u.user_id::text, ''), 1),
        ('workspace', coalesce(were.workspace_id::text, ''), -1),
        ('workspace', coalesce(u.workspace_id::text, ''), 1),
        ('workspace_model', coalesce(were.workspace_id::text, '') || '/' || u.model, -1),
        ('workspace_model', coalesce(u.workspace_id::text, '') || '/' || u.model, 1)
    ) AS side(dimension, key, sign)
    WHERE CASE side.dimension WHEN 'user' THEN were.user_id IS DISTINCT FROM u.user_id
          ELSE were.workspace_id IS DISTINCT FROM u.workspace_id END
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (customer_id, dimension, day, key) DO UPDATE SET {ADDED};
    DELETE FROM usage_daily d USING (
        SELECT DISTINCT customer_id, (occurred_at AT TIME ZONE 'UTC')::date AS day FROM were
    ) AS moved
    WHERE d.customer_id = moved.customer_id AND d.day = moved.day AND d.requests = 0
        AND d.dimension IN ('user', 'workspace', 'workspace_model');
    RETURN NULL;
END $$;

CREATE TRIGGER move_rollups AFTER UPDATE ON usage_events
    REFERENCING OLD TABLE AS were
    FOR EACH STATEMENT EXECUTE FUNCTION billing_move_rollups();
"""
MOVES_BACK = """
DROP TRIGGER move_rollups ON usage_events;
DROP FUNCTION billing_move_rollups();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_corrections_and_rollups")]

    operations = [
        migrations.RunSQL(XID, XID_BACK),
        migrations.RunSQL(KEPT, KEPT_BACK),
        migrations.RunSQL(VIEW, VIEW_BACK),
        migrations.RunSQL(MOVES, MOVES_BACK),
    ]
