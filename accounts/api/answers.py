"""What accounts' REST answers, as types: the published schema, which the suite holds answers to."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from accounts.types import (
    KeyKind,
    OrganizationKind,
    OrganizationRole,
    Permission,
    Scope,
    SessionKind,
)


class Person(msgspec.Struct, kw_only=True):
    """A person, as they see themselves."""

    id: UUID
    email: str
    full_name: str
    locale: str
    is_email_verified: bool
    created_at: datetime


class Organization(msgspec.Struct, kw_only=True):
    """An organization, with the caller's role and what it permits there."""

    id: UUID
    name: str
    slug: str
    kind: OrganizationKind
    role: OrganizationRole
    permissions: list[Permission]
    created_at: datetime


class Organizations(msgspec.Struct, kw_only=True):
    items: list[Organization]
    next_cursor: str


class Profile(Person, kw_only=True):
    """Oneself: the person, their organizations, and whether they operate the platform."""

    organizations: list[Organization]
    is_staff: bool


class TokenPair(msgspec.Struct, kw_only=True):
    """`access` is a JWT for `Authorization: Bearer`; `refresh` is good for one successor."""

    access: str
    refresh: str
    access_expires_at: datetime
    session_id: UUID


class SignedIn(TokenPair, kw_only=True):
    user: Person


class SocketTicket(msgspec.Struct, kw_only=True):
    """For `?ticket=` of a WebSocket, bound to its path and to this session."""

    ticket: str
    expires_at: datetime


class Session(msgspec.Struct, kw_only=True):
    id: UUID
    kind: SessionKind
    ip: str | None
    user_agent: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_current: bool


class Sessions(msgspec.Struct, kw_only=True):
    items: list[Session]
    next_cursor: str


class ApiKey(msgspec.Struct, kw_only=True):
    """An API key without its secret; `last4` helps to tell keys apart."""

    id: UUID
    name: str
    kind: KeyKind
    organization_id: UUID
    workspace_id: UUID | None
    scopes: list[Scope]
    last4: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class ApiKeys(msgspec.Struct, kw_only=True):
    items: list[ApiKey]
    next_cursor: str


class NewApiKey(ApiKey, kw_only=True):
    """`key` is shown this once."""

    key: str


class OrganizationMember(msgspec.Struct, kw_only=True):
    user_id: UUID
    email: str
    full_name: str
    role: OrganizationRole
    created_at: datetime


class OrganizationMembers(msgspec.Struct, kw_only=True):
    items: list[OrganizationMember]
    next_cursor: str


class AuditEvent(msgspec.Struct, kw_only=True):
    id: UUID
    at: datetime
    action: str
    outcome: str
    actor_id: UUID | None
    session_id: UUID | None
    workspace_id: UUID | None
    target: str
    ip: str | None
    details: dict[str, object]
    request_id: str


class AuditEvents(msgspec.Struct, kw_only=True):
    items: list[AuditEvent]
    next_cursor: str
