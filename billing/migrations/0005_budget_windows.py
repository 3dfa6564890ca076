"""Which budgets a call counts against, and in which window: functions of the reservation.

Windows are those of the budget's zone. Where clocks go back over midnight the day begins at the
first of the two; where they skip it, at the moment they do. `billing.windows` says the same.
"""

from django.db import migrations

WINDOWS = """
CREATE FUNCTION billing_instant(wall timestamp, tz text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN ((late - interval '1 hour') AT TIME ZONE tz) = wall
                THEN late - interval '1 hour' ELSE late END
    FROM (SELECT wall AT TIME ZONE tz AS late) AS one
$$;

CREATE FUNCTION billing_window(
    period text, moment timestamptz, tz text, OUT starts_at timestamptz, OUT ends_at timestamptz
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT
        CASE period
            WHEN 'total' THEN timestamptz '1970-01-01 00:00+00'
            WHEN 'hour' THEN date_trunc('hour', moment, tz)
            ELSE billing_instant(date_trunc(period, moment AT TIME ZONE tz), tz)
        END,
        CASE period
            WHEN 'total' THEN NULL
            WHEN 'hour' THEN date_trunc('hour', moment, tz) + interval '1 hour'
            ELSE billing_instant(
                date_trunc(period, moment AT TIME ZONE tz) + ('1 ' || period)::interval, tz)
        END
$$;

CREATE FUNCTION billing_like(glob text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT translate(
        replace(replace(replace(glob, '\\', '\\\\'), '%', '\\%'), '_', '\\_'), '*?', '%_')
$$;
"""
WINDOWS_BACK = """
DROP FUNCTION billing_like(text);
DROP FUNCTION billing_window(text, timestamptz, text);
DROP FUNCTION billing_instant(timestamp, text);
"""

CALLS = """
CREATE FUNCTION billing_calls(calls jsonb) RETURNS TABLE (
    ord integer, hold_id uuid, request_id uuid, attempt smallint, organization_id uuid,
    workspace_id uuid, user_id uuid, api_key_id uuid, agent_id text, conversation_id uuid,
    run_id uuid, provider_id uuid, provider_type text, billing_mode text, operation text,
    model text, requested_model text, bound numeric, expected numeric, price_version_id uuid,
    input_bytes bigint, input_ratio numeric, output_ratio numeric, lease_s integer,
    is_dispatched boolean
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT * FROM jsonb_to_recordset(calls) AS c(
        ord integer, hold_id uuid, request_id uuid, attempt smallint, organization_id uuid,
        workspace_id uuid, user_id uuid, api_key_id uuid, agent_id text, conversation_id uuid,
        run_id uuid, provider_id uuid, provider_type text, billing_mode text, operation text,
        model text, requested_model text, bound numeric, expected numeric, price_version_id uuid,
        input_bytes bigint, input_ratio numeric, output_ratio numeric, lease_s integer,
        is_dispatched boolean)
$$;

-- The budgets of a call, each with the window of `moment`. `*` limits each one of its scope.
CREATE FUNCTION billing_budgets_of(calls jsonb, moment timestamptz) RETURNS TABLE (
    ord integer, budget_id uuid, subject text, starts_at timestamptz, ends_at timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT c.ord, b.id, CASE WHEN b.scope_id = '*' AND b.scope <> 'model_glob'
                             THEN named.name ELSE '' END,
           frame.starts_at, frame.ends_at
    FROM billing_calls(calls) AS c
    JOIN billing_budgets AS b ON b.customer_id = c.organization_id
        AND b.is_enabled AND b.deleted_at IS NULL
        AND (c.billing_mode = 'platform' OR (c.billing_mode = 'byok' AND b.counts_byok))
    CROSS JOIN LATERAL (SELECT CASE b.scope
        WHEN 'workspace' THEN c.workspace_id::text
        WHEN 'user' THEN c.user_id::text
        WHEN 'api_key' THEN c.api_key_id::text
        WHEN 'provider' THEN c.provider_id::text
        WHEN 'agent' THEN nullif(c.agent_id, '')
        WHEN 'run' THEN c.run_id::text
        WHEN 'model_glob' THEN c.model
        ELSE '' END AS name) AS named
    CROSS JOIN LATERAL billing_window(b.period, moment, b.tz) AS frame
    WHERE CASE b.scope
        WHEN 'customer' THEN true
        WHEN 'model_glob' THEN c.model LIKE billing_like(b.scope_id)
        ELSE named.name = b.scope_id OR (named.name IS NOT NULL AND b.scope_id = '*') END
$$;
"""
CALLS_BACK = """
DROP FUNCTION billing_budgets_of(jsonb, timestamptz);
DROP FUNCTION billing_calls(jsonb);
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_ledger_guards")]

    operations = [
        migrations.RunSQL(WINDOWS, WINDOWS_BACK),
        migrations.RunSQL(CALLS, CALLS_BACK),
    ]
