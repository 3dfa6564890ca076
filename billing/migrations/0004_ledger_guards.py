"""Transactions that balance, facts that refuse change, the platform's own accounts.

The balance is checked per statement: the new legs of each transaction sum to zero in each currency,
so by induction every transaction does, and 10^-12 off never commits. Legs therefore enter all at
once. A transaction's legs are written by the transaction that wrote it, never later.
"""

from django.db import migrations

BALANCE = """
ALTER TABLE billing_ledger_txns ADD COLUMN commit_xid xid8 NOT NULL DEFAULT pg_current_xact_id();

CREATE FUNCTION billing_check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd record;
BEGIN
    SELECT txn_id, currency, sum(amount) AS off INTO odd FROM legs
    GROUP BY txn_id, currency HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transaction % is off by % %', odd.txn_id, odd.off, odd.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balances';
    END IF;
    SELECT t.id INTO odd FROM billing_ledger_txns t
    WHERE t.id IN (SELECT txn_id FROM legs) AND t.commit_xid <> pg_current_xact_id() LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transaction % was written before', odd.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER balance AFTER INSERT ON billing_ledger_entries
    REFERENCING NEW TABLE AS legs
    FOR EACH STATEMENT EXECUTE FUNCTION billing_check_balance();
"""
BALANCE_BACK = """
DROP TRIGGER balance ON billing_ledger_entries;
DROP FUNCTION billing_check_balance();
ALTER TABLE billing_ledger_txns DROP COLUMN commit_xid;
"""

FACTS = ("billing_ledger_txns", "billing_ledger_entries", "billing_lot_uses", "billing_budget_alerts")
STATES = (
    "billing_customers",
    "billing_ledger_accounts",
    "billing_credit_lots",
    "billing_budgets",
    "billing_budget_periods",
)
KEPT = "\n".join(
    [
        f"CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION billing_refuse();"
        for table in FACTS
    ]
    + [
        f"CREATE TRIGGER refuse_delete BEFORE DELETE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION billing_refuse();"
        for table in STATES
    ]
    + [
        f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();"
        for table in (*FACTS, *STATES, "billing_holds")
    ]
)
KEPT_BACK = "\n".join(
    [f"DROP TRIGGER refuse_change ON {table};" for table in FACTS]
    + [f"DROP TRIGGER refuse_delete ON {table};" for table in STATES]
    + [
        f"DROP TRIGGER refuse_truncate ON {table};"
        for table in (*FACTS, *STATES, "billing_holds")
    ]
)

# A lot says what was given and until when; only what remains of it moves.
LOTS = """
CREATE FUNCTION billing_keep_lot() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_credit_lots;
BEGIN
    was := OLD;
    was.remaining := NEW.remaining;
    IF NEW *= was THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'only what remains of a lot changes' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_lot BEFORE UPDATE ON billing_credit_lots
    FOR EACH ROW EXECUTE FUNCTION billing_keep_lot();
"""
LOTS_BACK = """
DROP TRIGGER keep_lot ON billing_credit_lots;
DROP FUNCTION billing_keep_lot();
"""

ACCOUNTS = """
INSERT INTO billing_ledger_accounts (id, customer_id, kind, currency, posted, held, seq)
SELECT gen_random_uuid(), NULL, kind, 'USD', 0, 0, 0 FROM unnest(ARRAY[
    'revenue_usage', 'revenue_subscription', 'provider_cogs', 'stripe_clearing', 'cash',
    'promo_expense', 'breakage', 'refunds', 'adjustments', 'rounding', 'fx', 'tax_payable'
]) AS kind;

-- Customers of before get their wallets; welcome credit stays with those who come after.
INSERT INTO billing_ledger_accounts (id, customer_id, kind, currency, posted, held, seq)
SELECT gen_random_uuid(), c.organization_id, kind, 'USD', 0, 0, 0
FROM billing_customers c CROSS JOIN unnest(ARRAY['wallet', 'wallet_promo']) AS kind;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_ledger_holds_and_budgets")]

    operations = [
        migrations.RunSQL(ACCOUNTS, migrations.RunSQL.noop),
        migrations.RunSQL(BALANCE, BALANCE_BACK),
        migrations.RunSQL(KEPT, KEPT_BACK),
        migrations.RunSQL(LOTS, LOTS_BACK),
    ]
