"""Creating, changing and deleting workspaces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import Organization
from accounts.services import access as organization_access
from accounts.services import audit, feed
from accounts.types import Actor, Permission
from ideplatform.kit.errors import InvalidInput, Pointer, StaleVersion
from ideplatform.outbox import facts
from workspaces import selectors
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.services import access, nodes
from workspaces.types import SETTING_TYPES, JsonValue, Visibility, WorkspaceRole

MAX_SETTINGS_BYTES: Final = 64 * 1024
_SETTING_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a change says about a workspace; None leaves a member as it is."""

    name: str | None = None
    settings: dict[str, JsonValue] | None = None
    visibility: Visibility | None = None
    default_role: WorkspaceRole | None = None


@transaction.atomic
def create(*, actor: Actor, organization_id: UUID | None, changes: Changes) -> Workspace:
    """A workspace whose first owner is the actor, in their personal organization by default.

    Raises NotFound, Forbidden, InvalidInput (settings).
    """
    home = organization_id or actor.key_organization_id or _personal_organization(actor)
    organization_access.authorise(actor, Permission.WORKSPACE_CREATE, home)
    workspace = Workspace(organization_id=home, owner_id=actor.user_id)
    _apply(workspace, changes)
    workspace.save(force_insert=True)
    WorkspaceMembership.objects.create(
        workspace=workspace,
        user_id=actor.user_id,
        role=WorkspaceRole.OWNER,
        follows_organization=True,
    )
    _audit("workspace.created", actor, workspace)
    facts.publish(
        "workspace.created", key=str(workspace.pk), payload={"workspace_id": str(workspace.pk)}
    )
    return workspace


@transaction.atomic
def update(
    *, actor: Actor, workspace_id: UUID, changes: Changes, revision: int | None
) -> Workspace:
    """Change a workspace and count its revision; `revision` None means that the last write wins.

    Raises NotFound, Forbidden, InvalidInput, and StaleVersion with the current revision.
    """
    ref = access.workspace(actor, workspace_id, Permission.WORKSPACE_MANAGE)
    nodes.lock(workspace_id)
    workspace = selectors.workspace(ref)
    if revision is not None and revision != workspace.revision:
        raise StaleVersion(current={"revision": workspace.revision, "name": workspace.name})
    before = (workspace.visibility, workspace.default_role)
    _apply(workspace, changes)
    workspace.revision += 1
    workspace.save(
        update_fields=[
            "name", "settings", "visibility", "default_role", "revision", "updated_at",
        ]
    )  # fmt: skip
    if before != (workspace.visibility, workspace.default_role):
        feed.announce(workspace_id=workspace_id)
        _audit("workspace.visibility_changed", actor, workspace)
    return workspace


@transaction.atomic
def delete(*, actor: Actor, workspace_id: UUID) -> None:
    """Hide the workspace at once from everybody; it is purged 30 days later.

    Publishes `workspace.deleted`. Raises NotFound, Forbidden.
    """
    ref = access.workspace(actor, workspace_id, Permission.WORKSPACE_MANAGE)
    nodes.lock(workspace_id)
    workspace = selectors.workspace(ref)
    Workspace.objects.filter(pk=workspace_id).update(deleted_at=Now())
    feed.announce(workspace_id=workspace_id)
    _audit("workspace.deleted", actor, workspace)
    facts.publish(
        "workspace.deleted", key=str(workspace_id), payload={"workspace_id": str(workspace_id)}
    )


def _personal_organization(actor: Actor) -> UUID:
    rows = Organization.objects.filter(personal_user_id=actor.user_id)
    return rows.values_list("pk", flat=True).get()


def _apply(workspace: Workspace, changes: Changes) -> None:
    if changes.name is not None:
        workspace.name = changes.name
    if changes.settings is not None:
        _check_settings(changes.settings)
        workspace.settings = changes.settings
    if changes.visibility is not None:
        workspace.visibility = changes.visibility
    if changes.default_role is not None:
        workspace.default_role = changes.default_role


def _check_settings(settings: dict[str, JsonValue]) -> None:
    """Names are dotted words, known names have their type, everything has at most 64 KiB."""
    if len(msgspec.json.encode(settings)) > MAX_SETTINGS_BYTES:
        detail = f"settings have at most {MAX_SETTINGS_BYTES} bytes as JSON"
        raise InvalidInput(errors=[Pointer(pointer="/settings", detail=detail)])
    faults = [
        Pointer(pointer=f"/settings/{_escaped(name)}", detail=fault)
        for name, value in settings.items()
        if (fault := _setting_fault(name, value))
    ]
    if faults:
        raise InvalidInput(errors=faults)


def _setting_fault(name: str, value: JsonValue) -> str:
    if len(name) > 100 or not _SETTING_NAME.fullmatch(name):
        return "a setting's name is made of dotted words, at most 100 characters"
    wanted = SETTING_TYPES.get(name)
    if wanted is not None and type(value) is not wanted:
        return f"this setting is a {wanted.__name__}"
    return ""


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _audit(action: str, actor: Actor, workspace: Workspace) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=workspace.organization_id,
        workspace_id=workspace.pk,
        target=workspace.pk,
        details={"name": workspace.name, "visibility": str(workspace.visibility)},
    )
