"""What customers pay beside the vendor's price takes two persons, whoever writes it."""

from django.db import migrations, models

# A rule begins and ends as the request says that this transaction applies: from the moment of its
# approval where it names none, and the rule that it replaces ends when the new one begins.
TWO = """
CREATE FUNCTION billing_check_markup() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM billing_approval_requests r,
            LATERAL coalesce((r.payload ->> 'starts_at')::timestamptz, r.decided_at) AS begins,
            LATERAL (SELECT (r.payload ->> 'ends_at')::timestamptz AS at) AS ends
        WHERE r.decided_xid = pg_current_xact_id() AND r.state IN ('approved', 'applied')
          AND r.kind = 'markup' AND CASE
            WHEN TG_OP = 'UPDATE' THEN r.payload ->> 'ended_id' = NEW.id::text
                AND upper(NEW.effective) = CASE WHEN r.payload ->> 'value' IS NULL
                    THEN coalesce(ends.at, r.decided_at) ELSE begins END
            ELSE (r.payload ->> 'priority')::int = NEW.priority
                AND r.customer_id IS NOT DISTINCT FROM NEW.customer_id
                AND r.payload ->> 'provider_type' = NEW.provider_type
                AND r.payload ->> 'model_glob' = NEW.model_glob
                AND r.payload ->> 'kind' = NEW.kind
                AND (r.payload ->> 'value')::numeric = NEW.value
                AND NEW.effective = tstzrange(begins, ends.at)
            END) THEN
        RAISE EXCEPTION 'the markup % needs a second person', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'two_persons';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER two_persons_insert AFTER INSERT ON billing_markup_rules
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_check_markup();
CREATE CONSTRAINT TRIGGER two_persons_update AFTER UPDATE ON billing_markup_rules
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.effective IS DISTINCT FROM OLD.effective)
    EXECUTE FUNCTION billing_check_markup();
"""
TWO_BACK = """
DROP TRIGGER two_persons_update ON billing_markup_rules;
DROP TRIGGER two_persons_insert ON billing_markup_rules;
DROP FUNCTION billing_check_markup();
"""

KINDS = [
    "adjustment",
    "promo",
    "reversal",
    "refund",
    "limit",
    "prices",
    "reconciliation",
    "correction",
    "markup",
]


class Migration(migrations.Migration):
    dependencies = [("billing", "0020_corrections_take_two")]

    operations = [
        migrations.RemoveConstraint(model_name="approvalrequest", name="approvals_kind"),
        migrations.AlterField(
            model_name="approvalrequest",
            name="kind",
            field=models.CharField(
                choices=[(kind, kind.capitalize()) for kind in KINDS], max_length=20
            ),
        ),
        migrations.AddConstraint(
            model_name="approvalrequest",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", KINDS)), name="approvals_kind"
            ),
        ),
        migrations.RunSQL(TWO, TWO_BACK),
    ]
