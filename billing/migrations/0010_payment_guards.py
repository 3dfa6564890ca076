"""Payments are facts: their amounts never change, and their states only move forward."""

from django.db import migrations

TOP_UPS = """
CREATE FUNCTION billing_keep_top_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.customer_id, NEW.kind, NEW.amount_minor, NEW.currency, NEW.credited)
       IS DISTINCT FROM
       (OLD.id, OLD.customer_id, OLD.kind, OLD.amount_minor, OLD.currency, OLD.credited)
       OR NEW.payment_intent IS DISTINCT FROM COALESCE(OLD.payment_intent, NEW.payment_intent)
       OR NEW.txn_id IS DISTINCT FROM COALESCE(OLD.txn_id, NEW.txn_id) THEN
        RAISE EXCEPTION 'what a top-up buys never changes' USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.txn_id IS NOT NULL AND NEW.state IN ('created', 'failed') THEN
        RAISE EXCEPTION 'a paid top-up stays paid' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_top_up BEFORE UPDATE ON billing_top_ups
    FOR EACH ROW EXECUTE FUNCTION billing_keep_top_up();

CREATE FUNCTION billing_keep_clawback() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_clawbacks;
BEGIN
    was := OLD;
    was.state := NEW.state;
    IF NEW *= was AND OLD.state = 'standing' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a clawback is only ever undone' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_clawback BEFORE UPDATE ON billing_clawbacks
    FOR EACH ROW EXECUTE FUNCTION billing_keep_clawback();
"""
TOP_UPS_BACK = """
DROP TRIGGER keep_clawback ON billing_clawbacks;
DROP FUNCTION billing_keep_clawback();
DROP TRIGGER keep_top_up ON billing_top_ups;
DROP FUNCTION billing_keep_top_up();
"""

TABLES = (
    "billing_top_ups",
    "billing_clawbacks",
    "billing_auto_recharges",
    "billing_stripe_outbox",
    "billing_stripe_inbox",
)
KEPT = "\n".join(
    f"CREATE TRIGGER refuse_delete BEFORE DELETE ON {table}"
    f" FOR EACH ROW EXECUTE FUNCTION billing_refuse();"
    f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table}"
    f" FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();"
    for table in TABLES
)
KEPT_BACK = "\n".join(
    f"DROP TRIGGER refuse_truncate ON {table}; DROP TRIGGER refuse_delete ON {table};"
    for table in TABLES
)


class Migration(migrations.Migration):
    dependencies = [("billing", "0009_payments")]

    operations = [
        migrations.RunSQL(TOP_UPS, TOP_UPS_BACK),
        migrations.RunSQL(KEPT, KEPT_BACK),
    ]
