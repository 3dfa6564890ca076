"""A correction that charges, or gives back much, takes two persons, whoever writes it."""

from django.db import migrations, models

TWO = """
CREATE FUNCTION billing_check_corrected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF billing_approves('correction', jsonb_build_object(
            'event_id', NEW.event_id, 'billed_cost', NEW.delta_billed_cost::text))
        OR NEW.delta_billed_cost < 0 AND billing_approves('reconciliation', '{}') THEN
        RETURN NULL;
    END IF;
    PERFORM billing_note_move(NEW.id, NEW.approved_by_id, abs(NEW.delta_billed_cost),
                              NEW.delta_billed_cost > 0, NULL);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER two_persons AFTER INSERT ON billing_usage_corrections
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.delta_billed_cost <> 0)
    EXECUTE FUNCTION billing_check_corrected();
"""
TWO_BACK = """
DROP TRIGGER two_persons ON billing_usage_corrections;
DROP FUNCTION billing_check_corrected();
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
]


class Migration(migrations.Migration):
    dependencies = [("billing", "0019_approval_guards")]

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
