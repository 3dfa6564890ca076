"""Tables of people, organizations, credentials, the vault and the audit log."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin, UserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now

from accounts.types import KeyKind, OrganizationKind, OrganizationRole, SessionKind
from ideplatform.kit import ids
from ideplatform.kit.columns import choices, one_of


class Users(UserManager["User"]):
    """Signs people up by e-mail; the case of an address does not matter."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.by_email(username or "").get()

    def by_email(self, email: str) -> models.QuerySet[User]:
        """Whoever has this address; uses the unique index, which `iexact` cannot."""
        lowered = Lower(models.Value(email.strip()))
        return self.alias(lowered_email=Lower("email")).filter(lowered_email=lowered)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Deleting one keeps the row (facts refer to it) and empties it."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    email = models.CharField(max_length=255, unique=True)
    password = models.CharField(max_length=255, db_column="hashed_password")
    full_name = models.CharField(max_length=255, blank=True, default="")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    is_email_verified = models.BooleanField(default=False)
    locale = models.CharField(max_length=10, default="en")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Users] = Users()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        db_table = "users"
        constraints = [models.UniqueConstraint(Lower("email"), name="users_email_unique")]

    def __str__(self) -> str:
        return self.email


class Organization(models.Model):
    """The tenant root; every user has a personal one, the platform itself has one."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=255)
    slug = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=10, choices=choices(OrganizationKind))
    personal_user = models.OneToOneField(
        User,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="personal_organization",
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "organizations"
        constraints = [
            one_of("kind", OrganizationKind, "organizations_kind"),
            models.CheckConstraint(
                condition=Q(kind="personal", personal_user__isnull=False)
                | (~Q(kind="personal") & Q(personal_user__isnull=True)),
                name="organizations_personal_user",
            ),
            models.UniqueConstraint(
                fields=["kind"],
                condition=Q(kind="platform"),
                name="organizations_one_platform",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class OrganizationMembership(models.Model):
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="organization_memberships")
    role = models.CharField(max_length=10, choices=choices(OrganizationRole))
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "organization_memberships"
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="org_member_unique"),
            one_of("role", OrganizationRole, "org_member_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class RefreshSession(models.Model):
    """A family of refresh tokens; its id is the `sid` of every token and cookie of it."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="refresh_sessions")
    kind = models.CharField(max_length=10, choices=choices(SessionKind))
    generation = models.PositiveIntegerField(default=0)
    rotated_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    auth_at = models.DateTimeField(db_default=Now())
    mfa_at = models.DateTimeField(null=True, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=300, blank=True, default="")
    last_seen_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=40, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "refresh_sessions"
        constraints = [one_of("kind", SessionKind, "refresh_sessions_kind")]

    def __str__(self) -> str:
        return str(self.id)


class ApiKey(models.Model):
    """A credential for programs: the secret itself is shown once and never stored."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys")
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="api_keys")
    workspace_id = models.UUIDField(null=True, blank=True)
    kind = models.CharField(max_length=10, choices=choices(KeyKind))
    name = models.CharField(max_length=100)
    secret_hmac = models.BinaryField(max_length=32)
    pepper_version = models.PositiveSmallIntegerField()
    last4 = models.CharField(max_length=4)
    scopes = ArrayField(models.CharField(max_length=40))
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "api_keys"
        constraints = [one_of("kind", KeyKind, "api_keys_kind")]

    def __str__(self) -> str:
        return f"{self.name} ...{self.last4}"


class WsTicket(models.Model):
    """A short-lived pass for one socket path, bound to its session."""

    token_hash = models.BinaryField(max_length=32, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    session = models.ForeignKey(RefreshSession, models.CASCADE, related_name="+")
    path = models.CharField(max_length=300)
    expires_at = models.DateTimeField()
    is_reusable = models.BooleanField(default=False)

    class Meta:
        db_table = "ws_tickets"

    def __str__(self) -> str:
        return self.path


class AccessChange(models.Model):
    """Somebody's rights shrank: every process drops what it remembered. Kept 24 hours.

    With a `topic` it is no matter of rights: something else changed that processes remember, of
    the one that an id names, or of all. Triggers write those.
    """

    id = models.BigAutoField(primary_key=True)
    topic = models.CharField(max_length=20, blank=True, default="", db_default="")
    user_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    workspace_id = models.UUIDField(null=True)
    organization_id = models.UUIDField(null=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "access_changes"
        indexes = [models.Index(fields=["at"], name="access_changes_at")]

    def __str__(self) -> str:
        return str(self.pk)


class DataKey(models.Model):
    """An organization's encryption key, wrapped by a master key."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="data_keys")
    version = models.PositiveIntegerField()
    master_version = models.PositiveIntegerField()
    wrapped = models.BinaryField()
    uses = models.PositiveIntegerField(default=0)
    retired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "data_keys"
        constraints = [
            models.UniqueConstraint(fields=["organization", "version"], name="data_keys_version")
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} v{self.version}"


class SecretRecord(models.Model):
    """A sealed value. Its associated data binds it to this row; a moved ciphertext won't open."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="secrets")
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True, related_name="secrets")
    provider = models.CharField(max_length=100)
    encrypted_value = models.BinaryField()
    data_key = models.ForeignKey(DataKey, models.RESTRICT, related_name="+")
    row_version = models.PositiveIntegerField(default=1)
    last4 = models.CharField(max_length=4, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "secrets"
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "user", "provider"],
                name="secrets_owner_unique",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                F("user"),
                F("provider"),
                name="secrets_user_provider",
                condition=Q(user__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.provider


class AuditEvent(models.Model):
    """What was done, by whom, to what. Append-only by trigger, partitioned by month.

    The table's key is (id, at), as partitions demand; Django names rows by the id alone.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    at = models.DateTimeField(db_default=Now())
    organization_id = models.UUIDField(null=True)
    workspace_id = models.UUIDField(null=True)
    actor_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    ip = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True, default="")
    outcome = models.CharField(max_length=20)
    details = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        db_table = "audit_events"
        managed = False

    def __str__(self) -> str:
        return f"{self.action} {self.outcome}"
