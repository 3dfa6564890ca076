"""Two persons, kept by the database: neither a shell nor a superuser moves money alone.

A request becomes approved only by another operator who is signed in at this moment; what it asks
for never changes. What needs one is checked when its transaction commits, so that whatever way it
was written, it is there with its approval or not at all. Moves that a rule of the platform makes
(a paid top-up, welcome credit, an expired lot, a clawback, a correction of usage) name their cause.
"""

from django.db import migrations

RULE = """
INSERT INTO billing_two_person_rule (id, amount, per_day, reconciliation) VALUES (1, 100, 500, 50);

CREATE FUNCTION billing_keep_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND pg_has_role(
        current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the two-person rule changes with the schema, by its owner'
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_rule BEFORE INSERT OR UPDATE OR DELETE ON billing_two_person_rule
    FOR EACH ROW EXECUTE FUNCTION billing_keep_rule();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_two_person_rule
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
RULE_BACK = """
DROP TRIGGER refuse_truncate ON billing_two_person_rule;
DROP TRIGGER keep_rule ON billing_two_person_rule;
DROP FUNCTION billing_keep_rule();
DELETE FROM billing_two_person_rule;
"""

REQUESTS = """
ALTER TABLE billing_approval_requests ADD COLUMN decided_xid xid8;

CREATE FUNCTION billing_is_signed_in(person uuid, session uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM refresh_sessions s JOIN users u ON u.id = s.user_id
        WHERE s.id = session AND s.user_id = person AND s.revoked_at IS NULL
          AND s.expires_at > clock_timestamp()
          AND s.auth_at > clock_timestamp() - interval '15 minutes'
          AND u.is_active AND u.is_staff)
$$;

CREATE FUNCTION billing_keep_request() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was billing_approval_requests;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'open' OR NEW.approver_id IS NOT NULL THEN
            RAISE EXCEPTION 'a request begins open' USING ERRCODE = 'restrict_violation';
        END IF;
        NEW.created_at := clock_timestamp();
        NEW.expires_at := NEW.created_at + interval '72 hours';
        NEW.decided_xid := NULL;
        NEW.payload_hash := sha256(convert_to(
            jsonb_build_array(NEW.kind, NEW.customer_id, NEW.payload)::text, 'UTF8'));
        RETURN NEW;
    END IF;
    was := OLD;
    was.state := NEW.state;
    was.approver_id := NEW.approver_id;
    was.approver_session_id := NEW.approver_session_id;
    was.decision_note := NEW.decision_note;
    was.result := NEW.result;
    was.decided_at := NEW.decided_at;
    was.decided_xid := NEW.decided_xid;
    IF NEW *<> was THEN
        RAISE EXCEPTION 'what a request asks for never changes'
            USING ERRCODE = 'restrict_violation';
    END IF;
    CASE OLD.state || ' ' || NEW.state
    WHEN 'open approved' THEN
        IF clock_timestamp() >= OLD.expires_at THEN
            RAISE EXCEPTION 'the request has expired' USING ERRCODE = 'restrict_violation';
        END IF;
        IF NEW.approver_id IS NOT DISTINCT FROM OLD.proposer_id
           OR NOT billing_is_signed_in(NEW.approver_id, NEW.approver_session_id) THEN
            RAISE EXCEPTION 'approving takes another operator, who is signed in'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'approvals_two_persons';
        END IF;
        NEW.decided_at := clock_timestamp();
        NEW.decided_xid := pg_current_xact_id();
        RETURN NEW;
    WHEN 'approved applied' THEN
        IF (NEW.approver_id, NEW.approver_session_id, NEW.decided_at, NEW.decided_xid)
           IS DISTINCT FROM
           (OLD.approver_id, OLD.approver_session_id, OLD.decided_at, pg_current_xact_id()) THEN
            RAISE EXCEPTION 'what was approved is applied in the same transaction'
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NEW;
    WHEN 'open rejected' THEN
        NEW.decided_at := clock_timestamp();
        NEW.decided_xid := NULL;
        RETURN NEW;
    WHEN 'open expired' THEN
        IF clock_timestamp() < OLD.expires_at THEN
            RAISE EXCEPTION 'the request has time left' USING ERRCODE = 'restrict_violation';
        END IF;
        NEW.decided_at := clock_timestamp();
        NEW.decided_xid := NULL;
        RETURN NEW;
    ELSE
        RAISE EXCEPTION 'a request never goes from % to %', OLD.state, NEW.state
            USING ERRCODE = 'restrict_violation';
    END CASE;
END $$;
CREATE TRIGGER keep_request BEFORE INSERT OR UPDATE ON billing_approval_requests
    FOR EACH ROW EXECUTE FUNCTION billing_keep_request();

-- Whether this transaction applies an approved request of the kind with such facts.
CREATE FUNCTION billing_approves(wanted text, facts jsonb) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM billing_approval_requests r
        WHERE r.decided_xid = pg_current_xact_id() AND r.state IN ('approved', 'applied')
          AND r.kind = wanted AND r.payload @> facts)
$$;
CREATE INDEX approvals_decided_xid ON billing_approval_requests (decided_xid)
    WHERE decided_xid IS NOT NULL;
"""
REQUESTS_BACK = """
DROP INDEX approvals_decided_xid;
DROP FUNCTION billing_approves(text, jsonb);
DROP TRIGGER keep_request ON billing_approval_requests;
DROP FUNCTION billing_keep_request();
DROP FUNCTION billing_is_signed_in(uuid, uuid);
ALTER TABLE billing_approval_requests DROP COLUMN decided_xid;
"""

MOVES = """
CREATE FUNCTION billing_keep_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'moves by hand are noted by the database' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_move BEFORE INSERT OR UPDATE OR DELETE ON billing_hand_moves
    FOR EACH ROW EXECUTE FUNCTION billing_keep_move();

-- Notes a move by hand: covered by an approval, or small, and within the operator's day.
CREATE FUNCTION billing_note_move(
    move uuid, actor uuid, usd numeric, takes boolean, approved uuid
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    rule billing_two_person_rule;
    operator uuid;
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    so_far numeric;
BEGIN
    SELECT * INTO STRICT rule FROM billing_two_person_rule;
    SELECT u.id INTO operator FROM users u WHERE u.id = actor AND u.is_active AND u.is_staff;
    IF approved IS NULL THEN
        IF takes OR usd > rule.amount THEN
            RAISE EXCEPTION '% needs a second person: it % USD', move,
                CASE WHEN takes THEN 'takes ' ELSE 'moves ' END || trim_scale(usd)
                USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
        END IF;
        -- One operator's moves one after the other, so that two at once cannot both fit the day.
        PERFORM pg_advisory_xact_lock(1751215716, hashtext(coalesce(operator::text, '')));
        SELECT coalesce(sum(amount), 0) INTO so_far FROM billing_hand_moves
        WHERE day = today AND operator_id IS NOT DISTINCT FROM operator AND approval_id IS NULL;
        IF so_far + usd > rule.per_day THEN
            RAISE EXCEPTION '% needs a second person: % USD today', move, trim_scale(so_far + usd)
                USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
        END IF;
    END IF;
    INSERT INTO billing_hand_moves (id, operator_id, day, amount, approval_id)
    VALUES (move, operator, today, usd, approved);
END $$;
"""
MOVES_BACK = """
DROP FUNCTION billing_note_move(uuid, uuid, numeric, boolean, uuid);
DROP TRIGGER keep_move ON billing_hand_moves;
DROP FUNCTION billing_keep_move();
"""

LEDGER = """
-- Whether a rule of the platform made the transaction; `moved` is what its only customer got.
CREATE FUNCTION billing_has_cause(
    txn billing_ledger_txns, payer uuid, moved numeric, allowed numeric
) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    undone text;
BEGIN
    CASE txn.kind
    WHEN 'usage' THEN
        RETURN moved <= 0;
    WHEN 'topup' THEN
        RETURN EXISTS (
            SELECT 1 FROM billing_top_ups t WHERE t.id::text = txn.links ->> 'top_up'
              AND t.customer_id = payer AND t.credited = moved);
    WHEN 'refund', 'dispute' THEN
        RETURN EXISTS (
            SELECT 1 FROM billing_top_ups t WHERE t.id::text = txn.links ->> 'top_up'
              AND t.customer_id = payer AND moved < 0 AND t.credited >= -moved);
    WHEN 'promo' THEN
        RETURN moved BETWEEN 0 AND allowed AND EXISTS (
            SELECT 1 FROM organizations o JOIN users u
              ON txn.idempotency_key = 'welcome:' || o.kind || ':' || u.id::text
            WHERE o.id = payer);
    WHEN 'expiry' THEN
        RETURN moved < 0 AND EXISTS (
            SELECT 1 FROM billing_credit_lots l JOIN billing_ledger_accounts a
              ON a.id = l.account_id AND a.customer_id = payer
            WHERE l.id::text = txn.links ->> 'lot' AND l.expires_at <= now()
              AND l.amount >= -moved);
    WHEN 'correction' THEN
        RETURN EXISTS (SELECT 1 FROM billing_usage_corrections c WHERE c.txn_id = txn.id);
    WHEN 'reversal' THEN
        SELECT t.kind INTO undone FROM billing_ledger_txns t WHERE t.id = txn.reverses_id;
        RETURN undone IN ('refund', 'dispute') OR undone IN ('usage', 'correction') AND EXISTS (
            SELECT 1 FROM billing_usage_corrections c JOIN usage_events e ON e.id = c.event_id
            WHERE e.txn_id = txn.reverses_id OR c.txn_id = txn.reverses_id);
    ELSE
        RETURN false;
    END CASE;
END $$;

CREATE FUNCTION billing_check_hand() RETURNS trigger LANGUAGE plpgsql AS $$
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
           AND NOT billing_approves('reconciliation', '{}') THEN
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

-- What settles calls is left out: `billing_verify` holds it against its usage event.
CREATE CONSTRAINT TRIGGER two_persons AFTER INSERT ON billing_ledger_txns
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.kind <> 'usage' OR NEW.actor_id IS NOT NULL
          OR NOT starts_with(NEW.idempotency_key, 'settle:'))
    EXECUTE FUNCTION billing_check_hand();
"""
LEDGER_BACK = """
DROP TRIGGER two_persons ON billing_ledger_txns;
DROP FUNCTION billing_check_hand();
DROP FUNCTION billing_has_cause(billing_ledger_txns, uuid, numeric, numeric);
"""

REFUNDS = """
CREATE FUNCTION billing_check_refund() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    usd numeric;
    facts jsonb;
BEGIN
    SELECT t.credited * (NEW.payload ->> 'amount')::numeric / t.amount_minor INTO STRICT usd
    FROM billing_top_ups t WHERE t.id = NEW.top_up_id;
    facts := jsonb_build_object(
        'top_up_id', NEW.top_up_id, 'amount_minor', (NEW.payload ->> 'amount')::bigint);
    IF NEW.approval_id IS NOT NULL AND NOT billing_approves('refund', facts) THEN
        RAISE EXCEPTION 'refund % is not what was approved', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
    END IF;
    PERFORM billing_note_move(NEW.id, NEW.actor_id, usd, false, NEW.approval_id);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER two_persons AFTER INSERT ON billing_stripe_outbox
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.kind = 'refund')
    EXECUTE FUNCTION billing_check_refund();
"""
REFUNDS_BACK = """
DROP TRIGGER two_persons ON billing_stripe_outbox;
DROP FUNCTION billing_check_refund();
"""

LIMITS = """
CREATE FUNCTION billing_check_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM billing_approval_requests r
        WHERE r.decided_xid = pg_current_xact_id() AND r.state IN ('approved', 'applied')
          AND r.kind = 'limit' AND r.customer_id = NEW.organization_id
          AND (r.payload ->> 'limit_usd')::numeric = NEW.postpaid_limit) THEN
        RAISE EXCEPTION 'the limit of % needs a second person', NEW.organization_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER two_persons_insert AFTER INSERT ON billing_customers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.postpaid_limit <> 0)
    EXECUTE FUNCTION billing_check_limit();
CREATE CONSTRAINT TRIGGER two_persons_update AFTER UPDATE ON billing_customers
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.postpaid_limit IS DISTINCT FROM OLD.postpaid_limit)
    EXECUTE FUNCTION billing_check_limit();
"""
LIMITS_BACK = """
DROP TRIGGER two_persons_update ON billing_customers;
DROP TRIGGER two_persons_insert ON billing_customers;
DROP FUNCTION billing_check_limit();
"""

# The first version ever is the exception: a fresh platform prices its calls by the shipped lists.
PRICES = """
ALTER TABLE billing_price_versions ADD COLUMN published_xid xid8;

CREATE FUNCTION billing_check_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state <> 'draft' AND NEW.state = 'draft' THEN
        RAISE EXCEPTION 'a published version stays one' USING ERRCODE = 'restrict_violation';
    ELSIF NEW.state = 'draft' THEN
        NEW.published_xid := NULL;
    ELSIF TG_OP = 'UPDATE' AND OLD.state <> 'draft' THEN
        NEW.published_xid := OLD.published_xid;
    ELSIF EXISTS (SELECT 1 FROM billing_price_versions v WHERE v.state <> 'draft')
       AND NOT billing_approves('prices', jsonb_build_object('version_id', NEW.id)) THEN
        RAISE EXCEPTION 'publishing prices needs a second person'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
    ELSE
        NEW.published_xid := pg_current_xact_id();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER two_persons BEFORE INSERT OR UPDATE ON billing_price_versions
    FOR EACH ROW EXECUTE FUNCTION billing_check_version();

-- Prices begin with their version, and end when another version begins.
CREATE FUNCTION billing_check_published() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM billing_price_versions v WHERE v.published_xid = pg_current_xact_id()
          AND (OLD.is_published OR v.id = NEW.version_id)) THEN
        RAISE EXCEPTION '% rows begin and end with a version', TG_TABLE_NAME
            USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER two_persons AFTER UPDATE ON billing_prices
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.is_published)
    EXECUTE FUNCTION billing_check_published();
CREATE CONSTRAINT TRIGGER two_persons AFTER UPDATE ON billing_model_aliases
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.is_published)
    EXECUTE FUNCTION billing_check_published();
"""
PRICES_BACK = """
DROP TRIGGER two_persons ON billing_model_aliases;
DROP TRIGGER two_persons ON billing_prices;
DROP FUNCTION billing_check_published();
DROP TRIGGER two_persons ON billing_price_versions;
DROP FUNCTION billing_check_version();
ALTER TABLE billing_price_versions DROP COLUMN published_xid;
"""

AUDIT = """
CREATE TABLE billing_audit_head (
    id smallint PRIMARY KEY CHECK (id = 1), seq bigint NOT NULL, hash bytea NOT NULL);
INSERT INTO billing_audit_head VALUES (1, 0, sha256('IDE Mundial: billing audit'));

CREATE FUNCTION billing_audit_hash(entry billing_audit) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(entry.prev_hash || convert_to(jsonb_build_array(
        entry.seq, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        entry.actor_id, entry.action, entry.customer_id, entry.target, entry.details
    )::text, 'UTF8'))
$$;

CREATE FUNCTION billing_append_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head billing_audit_head;
BEGIN
    -- The head's row lock is the chain's: writers follow one another to the end of their commits.
    SELECT * INTO STRICT head FROM billing_audit_head WHERE id = 1 FOR UPDATE;
    NEW.seq := head.seq + 1;
    NEW.at := clock_timestamp();
    NEW.prev_hash := head.hash;
    NEW.hash := billing_audit_hash(NEW);
    UPDATE billing_audit_head SET seq = NEW.seq, hash = NEW.hash WHERE id = 1;
    RETURN NEW;
END $$;
CREATE TRIGGER append_audit BEFORE INSERT ON billing_audit
    FOR EACH ROW EXECUTE FUNCTION billing_append_audit();

CREATE FUNCTION billing_keep_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 AND NEW.seq = OLD.seq + 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the end of the audit moves with the audit'
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_head BEFORE INSERT OR UPDATE OR DELETE ON billing_audit_head
    FOR EACH ROW EXECUTE FUNCTION billing_keep_audit_head();
"""
AUDIT_BACK = """
DROP TRIGGER keep_head ON billing_audit_head;
DROP FUNCTION billing_keep_audit_head();
DROP TRIGGER append_audit ON billing_audit;
DROP FUNCTION billing_append_audit();
DROP FUNCTION billing_audit_hash(billing_audit);
DROP TABLE billing_audit_head;
"""

KEPT = """
CREATE TRIGGER refuse_delete BEFORE DELETE ON billing_approval_requests
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON billing_audit
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_delete BEFORE DELETE ON billing_spent_tokens
    FOR EACH ROW EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_approval_requests
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_hand_moves
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_spent_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_audit
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON billing_audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse();
"""
KEPT_BACK = """
DROP TRIGGER refuse_truncate ON billing_audit_head;
DROP TRIGGER refuse_truncate ON billing_audit;
DROP TRIGGER refuse_truncate ON billing_spent_tokens;
DROP TRIGGER refuse_truncate ON billing_hand_moves;
DROP TRIGGER refuse_truncate ON billing_approval_requests;
DROP TRIGGER refuse_delete ON billing_spent_tokens;
DROP TRIGGER refuse_change ON billing_audit;
DROP TRIGGER refuse_delete ON billing_approval_requests;
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0018_approvals")]

    operations = [
        migrations.RunSQL(RULE, RULE_BACK),
        migrations.RunSQL(REQUESTS, REQUESTS_BACK),
        migrations.RunSQL(MOVES, MOVES_BACK),
        migrations.RunSQL(LEDGER, LEDGER_BACK),
        migrations.RunSQL(REFUNDS, REFUNDS_BACK),
        migrations.RunSQL(LIMITS, LIMITS_BACK),
        migrations.RunSQL(PRICES, PRICES_BACK),
        migrations.RunSQL(AUDIT, AUDIT_BACK),
        migrations.RunSQL(KEPT, KEPT_BACK),
    ]
