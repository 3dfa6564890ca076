"""What gateway clients asked and got, and how much of it an organization keeps."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_partitions"),
        ("providers", "0003_stored_responses"),
        ("workspaces", "0002_standings_view"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CapturePreference",
            fields=[
                (
                    "organization",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="accounts.organization",
                    ),
                ),
                (
                    "capture",
                    models.CharField(
                        choices=[("full", "Full"), ("metadata", "Metadata"), ("off", "Off")],
                        max_length=10,
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "capture_preferences",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("capture__in", ["full", "metadata", "off"])),
                        name="capture_preferences_capture",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="GatewayExchange",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("api_key_id", models.UUIDField(null=True)),
                (
                    "client_family",
                    models.CharField(
                        choices=[
                            ("claude-code", "Claude code"),
                            ("codex", "Codex"),
                            ("opencode", "Opencode"),
                            ("continue", "Continue"),
                            ("cline", "Cline"),
                            ("qwen-code", "Qwen code"),
                            ("aider", "Aider"),
                            ("llm", "Llm"),
                            ("theia", "Theia"),
                            ("openai-sdk", "Openai sdk"),
                            ("anthropic-sdk", "Anthropic sdk"),
                            ("other", "Other"),
                        ],
                        max_length=20,
                    ),
                ),
                ("session_key", models.CharField(max_length=160)),
                (
                    "dialect",
                    models.CharField(
                        choices=[
                            ("chat", "Chat"),
                            ("responses", "Responses"),
                            ("messages", "Messages"),
                        ],
                        max_length=10,
                    ),
                ),
                ("model", models.CharField(max_length=250)),
                (
                    "purpose",
                    models.CharField(choices=[("turn", "Turn"), ("title", "Title")], max_length=10),
                ),
                ("request", models.BinaryField(null=True)),
                ("answer", models.BinaryField(null=True)),
                ("outcome", models.CharField(max_length=40)),
                ("created_at", models.DateTimeField()),
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
                (
                    "workspace",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="workspaces.workspace",
                    ),
                ),
            ],
            options={
                "db_table": "gateway_exchanges",
                "indexes": [
                    models.Index(fields=["session_key", "id"], name="gateway_exchanges_session"),
                    models.Index(fields=["expires_at"], name="gateway_exchanges_expiry"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "client_family__in",
                                [
                                    "claude-code",
                                    "codex",
                                    "opencode",
                                    "continue",
                                    "cline",
                                    "qwen-code",
                                    "aider",
                                    "llm",
                                    "theia",
                                    "openai-sdk",
                                    "anthropic-sdk",
                                    "other",
                                ],
                            )
                        ),
                        name="gateway_exchanges_client",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("dialect__in", ["chat", "responses", "messages"])),
                        name="gateway_exchanges_dialect",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("purpose__in", ["turn", "title"])),
                        name="gateway_exchanges_purpose",
                    ),
                ],
            },
        ),
    ]
