"""Prices that never overlap in time, facts that refuse change, the writing transaction's id.

Exclusion over text needs operators that only the extension btree_gist brings, and the embedded
PostgreSQL has none. A range type over text[] has them built in: a key becomes the range [key, key].
See docs/decisions/0020-price-overlaps.md.
"""

from django.db import migrations

OVERLAPS = """
CREATE TYPE billing_key AS RANGE (subtype = text[], collation = "C");

ALTER TABLE billing_prices ADD CONSTRAINT prices_never_overlap EXCLUDE USING gist (
    billing_key(
        ARRAY[provider_type::text, match::text, pattern::text, service_tier::text, region::text,
              context_over_tokens::text, unit_class::text],
        ARRAY[provider_type::text, match::text, pattern::text, service_tier::text, region::text,
              context_over_tokens::text, unit_class::text],
        '[]') WITH =,
    effective WITH &&
) WHERE (is_published);

ALTER TABLE billing_model_aliases ADD CONSTRAINT model_aliases_never_overlap EXCLUDE USING gist (
    billing_key(ARRAY[provider_type::text, alias::text],
                ARRAY[provider_type::text, alias::text], '[]') WITH =,
    effective WITH &&
) WHERE (is_published);
"""
OVERLAPS_BACK = """
ALTER TABLE billing_model_aliases DROP CONSTRAINT model_aliases_never_overlap;
ALTER TABLE billing_prices DROP CONSTRAINT prices_never_overlap;
DROP TYPE billing_key;
"""

PUBLISHED = """
CREATE FUNCTION billing_keep_published() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.is_published THEN
            RAISE EXCEPTION '% rows enter by a draft version', TG_TABLE_NAME
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NOT OLD.is_published THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        -- Ending it, not before this moment, is the one change a published row takes.
        was := OLD;
        was.effective := NEW.effective;
        IF NEW *= was AND upper_inf(OLD.effective) AND upper(NEW.effective) >= now()
           AND lower(NEW.effective) IS NOT DISTINCT FROM lower(OLD.effective) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'published % rows never change', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION billing_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: its rows are facts', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER keep_published BEFORE INSERT OR UPDATE OR DELETE ON billing_prices
    FOR EACH ROW EXECUTE FUNCTION billing_keep_published();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_prices
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER keep_published BEFORE INSERT OR UPDATE OR DELETE ON billing_model_aliases
    FOR EACH ROW EXECUTE FUNCTION billing_keep_published();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_model_aliases
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
PUBLISHED_BACK = """
DROP TRIGGER refuse_truncate ON billing_model_aliases;
DROP TRIGGER keep_published ON billing_model_aliases;
DROP TRIGGER refuse_truncate ON billing_prices;
DROP TRIGGER keep_published ON billing_prices;
DROP FUNCTION billing_keep_published();
DROP FUNCTION billing_refuse();
"""

EVENTS = """
ALTER TABLE usage_events ADD COLUMN commit_xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX usage_events_commit ON usage_events (commit_xid);

CREATE FUNCTION usage_events_keep() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was usage_events;
BEGIN
    -- A user or workspace that goes takes its link along; nothing else of a fact ever changes.
    was := OLD;
    IF NEW.user_id IS NULL THEN was.user_id := NULL; END IF;
    IF NEW.workspace_id IS NULL THEN was.workspace_id := NULL; END IF;
    IF NEW *= was THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'UPDATE on usage_events is refused: its rows are facts'
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER keep_fact BEFORE UPDATE ON usage_events
    FOR EACH ROW EXECUTE FUNCTION usage_events_keep();
CREATE TRIGGER refuse_delete BEFORE DELETE ON usage_events
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON usage_events
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
EVENTS_BACK = """
DROP TRIGGER refuse_truncate ON usage_events;
DROP TRIGGER refuse_delete ON usage_events;
DROP TRIGGER keep_fact ON usage_events;
DROP FUNCTION usage_events_keep();
DROP INDEX usage_events_commit;
ALTER TABLE usage_events DROP COLUMN commit_xid;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_prices_and_usage")]

    operations = [
        migrations.RunSQL(OVERLAPS, OVERLAPS_BACK),
        migrations.RunSQL(PUBLISHED, PUBLISHED_BACK),
        migrations.RunSQL(EVENTS, EVENTS_BACK),
    ]
