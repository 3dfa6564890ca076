"""Values other apps may use: the actor, roles, permissions and scopes. No framework."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class OrganizationKind(StrEnum):
    PERSONAL = "personal"
    TEAM = "team"
    PLATFORM = "platform"


class OrganizationRole(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    BILLING = "billing"
    MEMBER = "member"


class SessionKind(StrEnum):
    TOKEN = "token"  # noqa: S105 - a kind of session, not a secret
    BROWSER = "browser"


class KeyKind(StrEnum):
    PERSONAL = "personal"
    SERVICE = "service"


class Permission(StrEnum):
    """What an actor may be allowed to do, at a workspace, an organization or the platform."""

    WORKSPACE_VIEW = "workspace.view"
    WORKSPACE_CREATE = "workspace.create"
    WORKSPACE_MANAGE = "workspace.manage"
    FILE_READ = "file.read"
    FILE_WRITE = "file.write"
    MEMORY_READ = "memory.read"
    MEMORY_WRITE = "memory.write"
    RUN_READ = "run.read"
    AGENT_RUN = "agent.run"
    BLUEPRINT_WRITE = "blueprint.write"
    PROVIDER_USE = "provider.use"
    PROVIDER_MANAGE = "provider.manage"
    ORGANIZATION_VIEW = "organization.view"
    ORGANIZATION_MANAGE = "organization.manage"
    ORGANIZATION_DELETE = "organization.delete"
    AUDIT_VIEW = "audit.view"
    BILLING_VIEW = "billing.view"
    BILLING_MANAGE = "billing.manage"
    RECONCILIATION_RUN = "reconciliation.run"
    BILLING_OPERATE = "billing.operate"
    USAGE_REPORT = "usage.report"
    PLATFORM_MANAGE = "platform.manage"
    SELF = "self"


class Scope(StrEnum):
    """What an API key may do at most; its user's rights still apply."""

    WORKSPACES_READ = "workspaces:read"
    WORKSPACES_WRITE = "workspaces:write"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    MEMORY_READ = "memory:read"
    MEMORY_WRITE = "memory:write"
    PROVIDERS_READ = "providers:read"
    PROVIDERS_WRITE = "providers:write"
    AGENTS_RUN = "agents:run"
    GATEWAY_CALL = "gateway:call"
    BILLING_READ = "billing:read"
    USAGE_REPORT = "usage:report"


_P = Permission
SCOPE_PERMISSIONS: dict[Scope, frozenset[Permission]] = {
    Scope.WORKSPACES_READ: frozenset({_P.WORKSPACE_VIEW, _P.ORGANIZATION_VIEW}),
    Scope.WORKSPACES_WRITE: frozenset(
        {
            _P.WORKSPACE_VIEW,
            _P.WORKSPACE_CREATE,
            _P.WORKSPACE_MANAGE,
            _P.BLUEPRINT_WRITE,
        }
    ),
    Scope.FILES_READ: frozenset({_P.FILE_READ}),
    Scope.FILES_WRITE: frozenset({_P.FILE_READ, _P.FILE_WRITE}),
    Scope.MEMORY_READ: frozenset({_P.MEMORY_READ}),
    Scope.MEMORY_WRITE: frozenset({_P.MEMORY_READ, _P.MEMORY_WRITE}),
    Scope.PROVIDERS_READ: frozenset({_P.PROVIDER_USE}),
    Scope.PROVIDERS_WRITE: frozenset({_P.PROVIDER_USE, _P.PROVIDER_MANAGE}),
    Scope.AGENTS_RUN: frozenset({_P.RUN_READ, _P.AGENT_RUN}),
    Scope.GATEWAY_CALL: frozenset({_P.PROVIDER_USE}),
    Scope.BILLING_READ: frozenset({_P.BILLING_VIEW}),
    Scope.USAGE_REPORT: frozenset({_P.USAGE_REPORT}),
}
"""Keys never reach `SELF`, members, keys or secrets: those need a session."""

ORGANIZATION_PERMISSIONS: dict[str, frozenset[Permission]] = {
    OrganizationRole.MEMBER: frozenset(
        {_P.ORGANIZATION_VIEW, _P.WORKSPACE_CREATE, _P.PROVIDER_USE, _P.USAGE_REPORT}
    ),
    OrganizationRole.BILLING: frozenset({_P.ORGANIZATION_VIEW, _P.BILLING_VIEW, _P.BILLING_MANAGE}),
    OrganizationRole.ADMIN: frozenset(
        {
            _P.ORGANIZATION_VIEW,
            _P.WORKSPACE_CREATE,
            _P.PROVIDER_USE,
            _P.PROVIDER_MANAGE,
            _P.ORGANIZATION_MANAGE,
            _P.AUDIT_VIEW,
            _P.BILLING_VIEW,
            _P.USAGE_REPORT,
        }
    ),
    OrganizationRole.OWNER: frozenset(
        {
            _P.ORGANIZATION_VIEW,
            _P.WORKSPACE_CREATE,
            _P.PROVIDER_USE,
            _P.PROVIDER_MANAGE,
            _P.ORGANIZATION_MANAGE,
            _P.ORGANIZATION_DELETE,
            _P.AUDIT_VIEW,
            _P.BILLING_VIEW,
            _P.BILLING_MANAGE,
            _P.RECONCILIATION_RUN,
            _P.USAGE_REPORT,
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRef:
    """An organization that an actor may use in some way, with the role found for it."""

    id: UUID
    role: OrganizationRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts: a user through a session or an API key. The first argument of every selector.

    `scopes` is None for a session (all of the user's rights). `key_workspace_id` and
    `key_organization_id` narrow a key to one workspace or organization.
    """

    user_id: UUID
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    scopes: frozenset[Scope] | None = None
    key_organization_id: UUID | None = None
    key_workspace_id: UUID | None = None
    is_staff: bool = False
    is_superuser: bool = False
    ip: str = ""

    @property
    def is_session(self) -> bool:
        """Whether a person signed in, as opposed to a program's key."""
        return self.api_key_id is None

    def scope_allows(self, permission: Permission) -> bool:
        """Whether the credential (not yet the role) covers the permission."""
        if self.scopes is None:
            return True
        return any(permission in SCOPE_PERMISSIONS[scope] for scope in self.scopes)
