"""Conversations of gateway clients, who may work outside every workspace."""

import django.db.models.deletion
import django.db.models.functions.datetime
import ideplatform.kit.ids
from django.conf import settings
from django.db import migrations, models


GUARD = """
CREATE OR REPLACE FUNCTION agents_refuse_message_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM agent_conversations c
        LEFT JOIN workspaces w ON w.id = c.workspace_id
        LEFT JOIN users u ON u.id = c.user_id
        WHERE c.id = OLD.conversation_id AND CASE
            WHEN c.workspace_id IS NULL THEN u.deleted_at IS NULL ELSE w.deleted_at IS NULL
        END
    ) THEN
        RAISE EXCEPTION 'agent_messages is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;
"""

FORMER_GUARD = """
CREATE OR REPLACE FUNCTION agents_refuse_message_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM agent_conversations c JOIN workspaces w ON w.id = c.workspace_id
        WHERE c.id = OLD.conversation_id AND w.deleted_at IS NULL
    ) THEN
        RAISE EXCEPTION 'agent_messages is append-only' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_partitions"),
        ("agents", "0002_append_only_and_seed_view"),
        ("workspaces", "0002_standings_view"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="GatewayThread",
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
                ("session_key", models.CharField(max_length=160)),
                ("title", models.CharField(blank=True, default="", max_length=200)),
                ("titled_at", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "gateway_threads",
            },
        ),
        migrations.CreateModel(
            name="GatewayTurn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.PositiveIntegerField()),
                ("digest", models.BinaryField(max_length=32)),
                ("exchange_id", models.UUIDField()),
                ("asked_at", models.DateTimeField()),
                ("answer_no", models.PositiveIntegerField(null=True)),
                ("last_no", models.PositiveIntegerField()),
            ],
            options={
                "db_table": "gateway_turns",
            },
        ),
        migrations.RemoveConstraint(
            model_name="conversation",
            name="conversations_origin",
        ),
        migrations.AlterField(
            model_name="conversation",
            name="origin",
            field=models.CharField(
                choices=[("ide", "Ide"), ("api", "Api"), ("gateway", "Gateway")], max_length=10
            ),
        ),
        migrations.AlterField(
            model_name="conversation",
            name="workspace",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="workspaces.workspace",
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin__in", ["ide", "api", "gateway"])),
                name="conversations_origin",
            ),
        ),
        migrations.AddConstraint(
            model_name="conversation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("workspace__isnull", False),
                    models.Q(("origin", "gateway"), ("visibility", "private")),
                    _connector="OR",
                ),
                name="conversations_workspace",
            ),
        ),
        migrations.AddField(
            model_name="gatewaythread",
            name="organization",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="accounts.organization",
            ),
        ),
        migrations.AddField(
            model_name="gatewaythread",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="gatewayturn",
            name="conversation",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="agents.conversation",
            ),
        ),
        migrations.AddField(
            model_name="gatewayturn",
            name="thread",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="turns",
                to="agents.gatewaythread",
            ),
        ),
        migrations.AddConstraint(
            model_name="gatewaythread",
            constraint=models.UniqueConstraint(
                fields=("organization", "user", "session_key"), name="gateway_threads_session"
            ),
        ),
        migrations.AddIndex(
            model_name="gatewayturn",
            index=models.Index(fields=["thread", "digest"], name="gateway_turns_digest"),
        ),
        migrations.AddConstraint(
            model_name="gatewayturn",
            constraint=models.UniqueConstraint(
                fields=("conversation", "position"), name="gateway_turns_position"
            ),
        ),
        migrations.RunSQL(GUARD, FORMER_GUARD),
    ]
