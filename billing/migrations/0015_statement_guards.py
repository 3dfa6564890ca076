"""Statements and reports that refuse change; markups that never contradict each other in time."""

from django.db import migrations

STATEMENTS = """
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON billing_statements
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_statements
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON billing_usage_reports
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_usage_reports
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
STATEMENTS_BACK = """
DROP TRIGGER refuse_truncate ON billing_usage_reports;
DROP TRIGGER refuse_change ON billing_usage_reports;
DROP TRIGGER refuse_truncate ON billing_statements;
DROP TRIGGER refuse_change ON billing_statements;
"""

MARKUPS = """
ALTER TABLE billing_markup_rules ADD CONSTRAINT markup_rules_bounded
    CHECK (NOT isempty(effective) AND lower(effective) IS NOT NULL);
ALTER TABLE billing_markup_rules ADD CONSTRAINT markup_rules_never_overlap EXCLUDE USING gist (
    billing_key(
        ARRAY[priority::text, coalesce(customer_id::text, ''), provider_type::text,
              model_glob::text, kind::text],
        ARRAY[priority::text, coalesce(customer_id::text, ''), provider_type::text,
              model_glob::text, kind::text],
        '[]') WITH =,
    effective WITH &&
);

CREATE FUNCTION billing_keep_markup() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_markup_rules;
BEGIN
    -- What calls were billed by stays; ending a rule, not before this moment, is its one change.
    was := OLD;
    was.effective := NEW.effective;
    IF NEW.created_by_id IS NULL THEN was.created_by_id := NULL; END IF;
    IF NEW *= was AND (NEW.effective = OLD.effective OR (
            lower(NEW.effective) = lower(OLD.effective)
            AND upper(NEW.effective) >= now()
            AND (upper_inf(OLD.effective) OR upper(OLD.effective) > now()))) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'markups only end: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER keep_markup BEFORE UPDATE ON billing_markup_rules
    FOR EACH ROW EXECUTE FUNCTION billing_keep_markup();
CREATE TRIGGER refuse_delete BEFORE DELETE ON billing_markup_rules
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_markup_rules
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
MARKUPS_BACK = """
DROP TRIGGER refuse_truncate ON billing_markup_rules;
DROP TRIGGER refuse_delete ON billing_markup_rules;
DROP TRIGGER keep_markup ON billing_markup_rules;
DROP FUNCTION billing_keep_markup();
ALTER TABLE billing_markup_rules DROP CONSTRAINT markup_rules_never_overlap;
ALTER TABLE billing_markup_rules DROP CONSTRAINT markup_rules_bounded;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_exports_statements_and_markups")]

    operations = [
        migrations.RunSQL(STATEMENTS, STATEMENTS_BACK),
        migrations.RunSQL(MARKUPS, MARKUPS_BACK),
    ]
