"""`audit_events`: monthly partitions, and triggers that refuse every change of a written event."""

from django.db import migrations

CREATE = """
CREATE TABLE audit_events (
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT statement_timestamp(),
    organization_id uuid,
    workspace_id uuid,
    actor_id uuid,
    session_id uuid,
    ip inet,
    action varchar(60) NOT NULL,
    target varchar(200) NOT NULL,
    outcome varchar(20) NOT NULL,
    details jsonb NOT NULL,
    request_id varchar(64) NOT NULL,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE INDEX audit_events_organization ON audit_events (organization_id, at DESC, id DESC);
CREATE INDEX audit_events_actor ON audit_events (actor_id, at DESC);

CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_events_no_change BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_refuse();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse();

CREATE TABLE audit_events_default PARTITION OF audit_events DEFAULT;
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events_default
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse();

-- A month whose events already lie in the default partition stays there: they must not be moved.
CREATE FUNCTION audit_events_extend(months_ahead integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first timestamptz;
    next timestamptz;
    name text;
    taken boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('audit_events_extend'));
    FOR ahead IN 0..least(greatest(months_ahead, 0), 24) LOOP
        first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead))
            AT TIME ZONE 'UTC';
        next := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead + 1))
            AT TIME ZONE 'UTC';
        name := 'audit_events_' || to_char(first AT TIME ZONE 'UTC', 'YYYY_MM');
        SELECT EXISTS (SELECT FROM audit_events_default WHERE at >= first AND at < next) INTO taken;
        IF to_regclass(name) IS NULL AND NOT taken THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF audit_events FOR VALUES FROM (%L) TO (%L)',
                name, first, next);
            EXECUTE format('CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON %I
                FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()', name);
        END IF;
    END LOOP;
END $$;

-- The age is fixed here, so that the application's role cannot ask for a shorter one.
CREATE FUNCTION audit_events_expire() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit_events'::regclass AND c.relname ~ '^audit_events_[0-9]{4}_[0-9]{2}$'
          AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' < now() - interval '400 days'
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

SELECT audit_events_extend(3);
"""

DROP = """
DROP TABLE audit_events;
DROP FUNCTION audit_events_extend(integer);
DROP FUNCTION audit_events_expire();
DROP FUNCTION audit_events_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_people")]

    operations = [migrations.RunSQL(CREATE, DROP)]
