"""Who has which role where, as one relation: what `workspaces.services.access` decides of one."""

from __future__ import annotations

from django.db import migrations, models

# The three ways to a role exclude each other, so a person has at most one row of a workspace:
# administrators of the organization; else an own membership that has not lapsed with theirs in the
# organization; else the default role of a visible workspace.
VIEW = """
CREATE VIEW workspace_standings AS
SELECT administrator.user_id, w.id AS workspace_id, 'owner'::varchar(10) AS role
FROM organization_memberships administrator
JOIN workspaces w ON w.organization_id = administrator.organization_id
JOIN users u ON u.id = administrator.user_id AND u.is_active
WHERE administrator.role IN ('owner', 'admin')
UNION ALL
SELECT own.user_id, own.workspace_id, own.role
FROM workspace_memberships own
JOIN workspaces w ON w.id = own.workspace_id
JOIN users u ON u.id = own.user_id AND u.is_active
LEFT JOIN organization_memberships standing
    ON standing.organization_id = w.organization_id AND standing.user_id = own.user_id
WHERE CASE WHEN standing.role IS NULL THEN NOT own.follows_organization
           ELSE standing.role NOT IN ('owner', 'admin') END
UNION ALL
SELECT participant.user_id, w.id, w.default_role
FROM organization_memberships participant
JOIN workspaces w
    ON w.organization_id = participant.organization_id AND w.visibility = 'organization'
JOIN users u ON u.id = participant.user_id AND u.is_active
WHERE participant.role = 'member'
    AND NOT EXISTS (
        SELECT 1 FROM workspace_memberships own
        WHERE own.workspace_id = w.id AND own.user_id = participant.user_id
    );
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_people"),
        ("workspaces", "0001_workspaces_and_files"),
    ]

    operations = [
        migrations.RunSQL(VIEW, "DROP VIEW workspace_standings"),
        migrations.CreateModel(
            name="WorkspaceStanding",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "workspace_id",
                        "user_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("user_id", models.UUIDField()),
                ("role", models.CharField(max_length=10)),
                (
                    "workspace",
                    models.ForeignKey(
                        on_delete=models.DO_NOTHING,
                        related_name="standings",
                        to="workspaces.workspace",
                    ),
                ),
            ],
            options={"db_table": "workspace_standings", "managed": False},
        ),
    ]
