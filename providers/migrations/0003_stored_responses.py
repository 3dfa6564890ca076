"""Responses that clients come back to, and the events of their streams."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import ideplatform.kit.ids

GUARDS = """
ALTER TABLE response_events ADD CONSTRAINT response_events_response
    FOREIGN KEY (response_id) REFERENCES stored_responses (id) ON DELETE CASCADE;

CREATE FUNCTION providers_guard_response() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.ended_at IS NOT NULL AND (NEW.state, NEW.last_sequence, NEW.answer)
        IS DISTINCT FROM (OLD.state, OLD.last_sequence, OLD.answer) THEN
        RAISE EXCEPTION 'response % has ended', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    IF NEW.last_sequence < OLD.last_sequence THEN
        RAISE EXCEPTION 'the events of response % never become fewer', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION providers_refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' OR EXISTS (
        SELECT 1 FROM stored_responses WHERE id = OLD.response_id
    ) THEN
        RAISE EXCEPTION 'response_events is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;

CREATE TRIGGER stored_responses_guard BEFORE UPDATE ON stored_responses
    FOR EACH ROW EXECUTE FUNCTION providers_guard_response();
CREATE TRIGGER response_events_append_only BEFORE UPDATE OR DELETE ON response_events
    FOR EACH ROW EXECUTE FUNCTION providers_refuse_event_change();
"""

UNGUARD = """
DROP TRIGGER response_events_append_only ON response_events;
DROP TRIGGER stored_responses_guard ON stored_responses;
DROP FUNCTION providers_refuse_event_change();
DROP FUNCTION providers_guard_response();
ALTER TABLE response_events DROP CONSTRAINT response_events_response;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_partitions"),
        ("providers", "0002_calls_are_holds"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="StoredResponse",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=ideplatform.kit.ids.new,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("model", models.CharField(max_length=250)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("in_progress", "In progress"),
                            ("completed", "Completed"),
                            ("incomplete", "Incomplete"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=12,
                    ),
                ),
                ("is_background", models.BooleanField(default=False)),
                ("previous_id", models.UUIDField(null=True)),
                ("input", models.BinaryField()),
                ("answer", models.BinaryField()),
                (
                    "item_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=200), default=list, size=None
                    ),
                ),
                ("last_sequence", models.BigIntegerField(default=-1)),
                ("lease_token", models.UUIDField()),
                ("lease_until", models.DateTimeField()),
                ("cancel_requested_at", models.DateTimeField(null=True)),
                ("lost_at", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField()),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.organization",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "stored_responses",
            },
        ),
        migrations.CreateModel(
            name="ResponseEvent",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "response_id",
                        "sequence_number",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("sequence_number", models.BigIntegerField()),
                ("data", models.BinaryField()),
                (
                    "response",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="events",
                        to="providers.storedresponse",
                    ),
                ),
            ],
            options={
                "db_table": "response_events",
            },
        ),
        migrations.AddIndex(
            model_name="storedresponse",
            index=models.Index(fields=["expires_at"], name="stored_responses_expiry"),
        ),
        migrations.AddIndex(
            model_name="storedresponse",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)),
                fields=["lease_until"],
                name="stored_responses_leases",
            ),
        ),
        migrations.AddIndex(
            model_name="storedresponse",
            index=django.contrib.postgres.indexes.GinIndex(
                fields=["item_ids"], name="stored_responses_items"
            ),
        ),
        migrations.AddConstraint(
            model_name="storedresponse",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"],
                    )
                ),
                name="stored_responses_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="storedresponse",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("ended_at__isnull", True),
                        (
                            "state__in",
                            ["queued", "in_progress"],
                        ),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "state__in",
                                ["queued", "in_progress"],
                            ),
                            _negated=True,
                        ),
                        ("ended_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="stored_responses_ended",
            ),
        ),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
