"""A correction of our own cost by two persons, beyond what one may decide about a vendor's bill."""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("billing.migrations.0019_approval_guards").LEDGER
CHECK_BEFORE = BEFORE[
    BEFORE.index("CREATE FUNCTION billing_check_hand()") : BEFORE.index("-- What settles calls")
].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")

CHECK = """
CREATE OR REPLACE FUNCTION billing_check_hand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    rule billing_two_person_rule;
    legs record;
    approved uuid;
BEGIN
    SELECT * INTO STRICT rule FROM billing_two_person_rule;
    SELECT count(DISTINCT w.payer) AS payers, min(w.payer::text)::uuid AS payer,
           sum(w.total) AS total, coalesce(sum(abs(w.total)), 0) AS gross,
           coalesce(min(w.total), 0) AS least
    INTO legs FROM (
        SELECT a.customer_id AS payer, sum(e.amount) AS total
        FROM billing_ledger_entries e JOIN billing_ledger_accounts a ON a.id = e.account_id
        WHERE e.txn_id = NEW.id AND a.customer_id IS NOT NULL GROUP BY a.id, a.customer_id) AS w;
    IF legs.payers = 0 THEN
        -- No customer's money: what people decide about a vendor's bill has its own limit.
        SELECT coalesce(max(abs(e.amount)), 0) AS gross INTO legs
        FROM billing_ledger_entries e WHERE e.txn_id = NEW.id;
        IF NEW.actor_id IS NOT NULL AND legs.gross > rule.reconciliation
           AND NOT billing_approves('reconciliation', '{}')
           AND NOT EXISTS (
               SELECT 1 FROM billing_approval_requests r
               WHERE r.decided_xid = pg_current_xact_id() AND r.state IN ('approved', 'applied')
                 AND r.kind = 'correction'
                 AND r.payload ->> 'event_id' = NEW.links ->> 'usage_event'
                 AND abs((r.payload ->> 'estimated_cost')::numeric) = legs.gross) THEN
            RAISE EXCEPTION '% needs a second person: it books % USD', NEW.id,
                trim_scale(legs.gross) USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
        END IF;
        RETURN NULL;
    END IF;
    IF legs.payers = 1 AND billing_has_cause(NEW, legs.payer, legs.total, rule.amount) THEN
        RETURN NULL;
    END IF;
    IF NEW.links ? 'approval' THEN
        SELECT r.id INTO approved FROM billing_approval_requests r
        WHERE r.id::text = NEW.links ->> 'approval' AND r.state IN ('approved', 'applied')
          AND r.decided_xid = pg_current_xact_id() AND legs.payers = 1
          AND r.kind IN (NEW.kind, 'reconciliation')
          AND r.customer_id = legs.payer AND (r.payload ->> 'amount_usd')::numeric = legs.total;
        IF NOT FOUND THEN
            RAISE EXCEPTION '% is not what was approved', NEW.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
        END IF;
    END IF;
    PERFORM billing_note_move(NEW.id, NEW.actor_id, legs.gross, legs.least < 0, approved);
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0023_budget_approval_guards")]

    operations = [migrations.RunSQL(CHECK, CHECK_BEFORE)]
