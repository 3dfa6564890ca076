"""What accounts' REST accepts and answers."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from rest_framework import serializers

from accounts.models import (
    ApiKey,
    AuditEvent,
    Organization,
    OrganizationMembership,
    RefreshSession,
    User,
)
from accounts.services.sessions import TokenPair
from accounts.types import ORGANIZATION_PERMISSIONS, KeyKind, OrganizationRole, Scope
from ideplatform.kit import clock
from ideplatform.kit.serializers import PersonForm, SecretField, StrictSerializer

_SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?$"
_PASSWORD = {"min_length": 1, "max_length": 1_024}


class RegisterForm(StrictSerializer):
    email = serializers.EmailField(max_length=255)
    password = SecretField(**_PASSWORD)
    full_name = serializers.CharField(max_length=255, required=False, default="", allow_blank=True)


class LoginForm(StrictSerializer):
    email = serializers.CharField(max_length=255)
    password = SecretField(**_PASSWORD)


class RefreshForm(StrictSerializer):
    refresh = serializers.CharField(max_length=2_048)


class ProfileForm(StrictSerializer):
    full_name = serializers.CharField(max_length=255, required=False, allow_blank=True)
    locale = serializers.ChoiceField(choices=settings.LANGUAGES, required=False)


class PasswordForm(StrictSerializer):
    password = SecretField(**_PASSWORD)


class PasswordChangeForm(StrictSerializer):
    old_password = SecretField(**_PASSWORD)
    new_password = SecretField(**_PASSWORD)


class TicketForm(StrictSerializer):
    path = serializers.CharField(max_length=300)
    reusable = serializers.BooleanField(required=False, default=False)


class ApiKeyForm(StrictSerializer):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=[scope.value for scope in Scope]),
        min_length=1,
        max_length=len(Scope),
    )
    kind = serializers.ChoiceField(
        choices=[kind.value for kind in KeyKind], default=KeyKind.PERSONAL
    )
    organization_id = serializers.UUIDField(required=False)
    workspace_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_expires_at(self, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= clock.now():
            raise serializers.ValidationError("This moment has passed.")
        return moment


class OrganizationForm(StrictSerializer):
    name = serializers.CharField(max_length=255)
    slug = serializers.RegexField(_SLUG, max_length=60)


class OrganizationChangeForm(StrictSerializer):
    name = serializers.CharField(max_length=255, required=False)
    slug = serializers.RegexField(_SLUG, max_length=60, required=False)


class RoleForm(StrictSerializer):
    role = serializers.ChoiceField(choices=[role.value for role in OrganizationRole])


class MemberForm(RoleForm, PersonForm):
    """Who becomes a member, and in which role."""


def tokens(pair: TokenPair) -> dict[str, object]:
    """The answer of whoever hands out tokens."""
    return {
        "access": pair.access,
        "refresh": pair.refresh,
        "access_expires_at": pair.access_expires_at,
        "session_id": pair.session_id,
    }


def user(row: User) -> dict[str, object]:
    return {
        "id": row.pk,
        "email": row.email,
        "full_name": row.full_name,
        "locale": row.locale,
        "is_email_verified": row.is_email_verified,
        "created_at": row.created_at,
    }


def organization(row: Organization, role: str) -> dict[str, object]:
    return {
        "id": row.pk,
        "name": row.name,
        "slug": row.slug,
        "kind": row.kind,
        "role": role,
        "permissions": sorted(ORGANIZATION_PERMISSIONS[role]),
        "created_at": row.created_at,
    }


def member(row: OrganizationMembership) -> dict[str, object]:
    return {
        "user_id": row.user_id,
        "email": row.user.email,
        "full_name": row.user.full_name,
        "role": row.role,
        "created_at": row.created_at,
    }


def session(row: RefreshSession, *, current: bool) -> dict[str, object]:
    return {
        "id": row.pk,
        "kind": row.kind,
        "ip": row.ip,
        "user_agent": row.user_agent,
        "created_at": row.created_at,
        "last_seen_at": row.last_seen_at,
        "expires_at": row.expires_at,
        "is_current": current,
    }


def api_key(row: ApiKey) -> dict[str, object]:
    return {
        "id": row.pk,
        "name": row.name,
        "kind": row.kind,
        "organization_id": row.organization_id,
        "workspace_id": row.workspace_id,
        "scopes": row.scopes,
        "last4": row.last4,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
    }


def audit_event(row: AuditEvent) -> dict[str, object]:
    return {
        "id": row.id,
        "at": row.at,
        "action": row.action,
        "outcome": row.outcome,
        "actor_id": row.actor_id,
        "session_id": row.session_id,
        "workspace_id": row.workspace_id,
        "target": row.target,
        "ip": row.ip,
        "details": row.details,
        "request_id": row.request_id,
    }
