"""Reports are facts, lines are decided once, and a comparison that was made stays made."""

from django.db import migrations

PAGES = """
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON billing_provider_report_pages
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
"""
PAGES_BACK = "DROP TRIGGER refuse_change ON billing_provider_report_pages;"

RUNS = """
CREATE FUNCTION billing_keep_recon_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_recon_runs;
BEGIN
    was := OLD;
    was.totals := NEW.totals;
    was.compared_at := NEW.compared_at;
    IF OLD.state IN ('queued', 'fetching') THEN
        was.state := NEW.state;
        was.report_digest := NEW.report_digest;
        was.page_ids := NEW.page_ids;
        was.repeats_id := NEW.repeats_id;
        was.error := NEW.error;
        was.attempts := NEW.attempts;
        was.next_at := NEW.next_at;
    END IF;
    IF NEW *= was THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a comparison that was made stays made' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_recon_run BEFORE UPDATE ON billing_recon_runs
    FOR EACH ROW EXECUTE FUNCTION billing_keep_recon_run();
"""
RUNS_BACK = """
DROP TRIGGER keep_recon_run ON billing_recon_runs;
DROP FUNCTION billing_keep_recon_run();
"""

# A line leaves `open` once; `disputed` may still be decided. Nobody decides a dry run.
LINES = """
CREATE FUNCTION billing_keep_recon_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_recon_lines;
BEGIN
    was := OLD;
    IF NOT OLD.is_dry_run AND (
        OLD.status IN ('open', 'disputed') AND NEW.status <> 'open' OR NEW.status = OLD.status
    ) AND OLD.status IN ('open', 'disputed') THEN
        was.status := NEW.status;
        was.decided_by_id := NEW.decided_by_id;
        was.decided_at := NEW.decided_at;
        was.note := NEW.note;
        was.txn_id := NEW.txn_id;
        was.approval_id := NEW.approval_id;
    END IF;
    IF NEW *= was THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a line of a comparison is decided once, and its figures never change'
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_recon_line BEFORE UPDATE ON billing_recon_lines
    FOR EACH ROW EXECUTE FUNCTION billing_keep_recon_line();
"""
LINES_BACK = """
DROP TRIGGER keep_recon_line ON billing_recon_lines;
DROP FUNCTION billing_keep_recon_line();
"""

STATES = ("billing_recon_runs", "billing_recon_lines")
TABLES = ("billing_provider_report_pages", *STATES)
KEPT = "\n".join(
    [
        f"CREATE TRIGGER refuse_delete BEFORE DELETE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION billing_refuse();"
        for table in STATES
    ]
    + [
        f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();"
        for table in TABLES
    ]
)
KEPT_BACK = "\n".join(
    [f"DROP TRIGGER refuse_truncate ON {table};" for table in TABLES]
    + [f"DROP TRIGGER refuse_delete ON {table};" for table in STATES]
)


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_reconciliation")]

    operations = [
        migrations.RunSQL(PAGES, PAGES_BACK),
        migrations.RunSQL(RUNS, RUNS_BACK),
        migrations.RunSQL(LINES, LINES_BACK),
        migrations.RunSQL(KEPT, KEPT_BACK),
    ]
