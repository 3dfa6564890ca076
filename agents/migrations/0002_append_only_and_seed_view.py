from django.db import migrations

GUARDS = """
CREATE FUNCTION agents_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION agents_refuse_message_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM agent_conversations c JOIN workspaces w ON w.id = c.workspace_id
        WHERE c.id = OLD.conversation_id AND w.deleted_at IS NULL
    ) THEN
        RAISE EXCEPTION 'agent_messages is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION agents_refuse_event_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM runs r JOIN workspaces w ON w.id = r.workspace_id
        WHERE r.id = OLD.run_id AND w.deleted_at IS NULL
    ) THEN
        RAISE EXCEPTION 'run_events is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION agents_guard_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.ended_at IS NOT NULL AND NEW.state <> OLD.state THEN
        RAISE EXCEPTION 'run % has ended', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.fence < OLD.fence OR NEW.last_seq < OLD.last_seq THEN
        RAISE EXCEPTION 'fence and last_seq of run % never fall', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER agent_messages_no_update BEFORE UPDATE ON agent_messages
    FOR EACH ROW EXECUTE FUNCTION agents_refuse_change();
CREATE TRIGGER agent_messages_no_delete BEFORE DELETE ON agent_messages
    FOR EACH ROW EXECUTE FUNCTION agents_refuse_message_delete();
CREATE TRIGGER agent_messages_no_truncate BEFORE TRUNCATE ON agent_messages
    FOR EACH STATEMENT EXECUTE FUNCTION agents_refuse_change();
CREATE TRIGGER run_events_no_update BEFORE UPDATE ON run_events
    FOR EACH ROW EXECUTE FUNCTION agents_refuse_change();
CREATE TRIGGER run_events_no_delete BEFORE DELETE ON run_events
    FOR EACH ROW EXECUTE FUNCTION agents_refuse_event_delete();
CREATE TRIGGER run_events_no_truncate BEFORE TRUNCATE ON run_events
    FOR EACH STATEMENT EXECUTE FUNCTION agents_refuse_change();
CREATE TRIGGER runs_guard BEFORE UPDATE ON runs
    FOR EACH ROW EXECUTE FUNCTION agents_guard_run();

CREATE UNIQUE INDEX run_events_one_end ON run_events (run_id) WHERE type IN ('complete', 'error');
ALTER TABLE run_events ADD CONSTRAINT run_events_size
    CHECK (octet_length(payload::text) <= 65536);
"""

UNGUARD = """
ALTER TABLE run_events DROP CONSTRAINT run_events_size;
DROP INDEX run_events_one_end;
DROP TRIGGER runs_guard ON runs;
DROP TRIGGER run_events_no_truncate ON run_events;
DROP TRIGGER run_events_no_delete ON run_events;
DROP TRIGGER run_events_no_update ON run_events;
DROP TRIGGER agent_messages_no_truncate ON agent_messages;
DROP TRIGGER agent_messages_no_delete ON agent_messages;
DROP TRIGGER agent_messages_no_update ON agent_messages;
DROP FUNCTION agents_guard_run();
DROP FUNCTION agents_refuse_event_delete();
DROP FUNCTION agents_refuse_message_delete();
DROP FUNCTION agents_refuse_change();
"""

VIEW = """
CREATE VIEW conversations AS
SELECT c.id, c.workspace_id, c.user_id, c.agent_id,
    coalesce(
        (
            SELECT jsonb_agg(
                jsonb_build_object('no', m.no, 'role', m.role, 'parts', m.parts) ORDER BY m.no
            )
            FROM agent_messages m
            WHERE m.conversation_id = c.id
                AND NOT EXISTS (
                    SELECT 1 FROM agent_messages s
                    WHERE s.conversation_id = c.id AND s.supersedes = m.no
                )
        ),
        '[]'::jsonb
    ) AS messages,
    c.created_at, c.updated_at
FROM agent_conversations c;
"""


class Migration(migrations.Migration):
    dependencies = [("agents", "0001_conversations_and_runs")]

    operations = [
        migrations.RunSQL(GUARDS, UNGUARD),
        migrations.RunSQL(VIEW, "DROP VIEW conversations"),
    ]
