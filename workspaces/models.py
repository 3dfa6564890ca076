"""Tables of workspaces, members and files."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Length, Now, Replace

from accounts.models import Organization
from ideplatform.kit import ids
from ideplatform.kit.columns import choices, one_of
from workspaces.types import ImportState, NodeKind, Origin, Visibility, WorkspaceRole


class Workspace(models.Model):
    """A project. Deleted ones stay 30 days, invisible; purging empties them and keeps the row,
    because facts such as charges refer to it."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=255)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="workspaces")
    settings = models.JSONField(default=dict)
    visibility = models.CharField(
        max_length=12, choices=choices(Visibility), default=Visibility.PRIVATE.value
    )
    default_role = models.CharField(
        max_length=10, choices=choices(WorkspaceRole), default=WorkspaceRole.VIEWER.value
    )
    revision = models.PositiveIntegerField(default=1)
    file_count = models.PositiveIntegerField(default=0)
    bytes_used = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    purged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "workspaces"
        indexes = [
            models.Index(fields=["organization", "id"], name="workspaces_organization"),
            models.Index(
                fields=["deleted_at"],
                condition=Q(deleted_at__isnull=False, purged_at__isnull=True),
                name="workspaces_to_purge",
            ),
        ]
        constraints = [
            one_of("visibility", Visibility, "workspaces_visibility"),
            models.CheckConstraint(
                condition=Q(default_role__in=["editor", "viewer"]),
                name="workspaces_default_role",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class WorkspaceMembership(models.Model):
    """A person's role. One that follows the organization ends with the membership there;
    a guest's does not."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=choices(WorkspaceRole))
    follows_organization = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "workspace_memberships"
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="workspace_member_unique"),
            one_of("role", WorkspaceRole, "workspace_member_role"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class WorkspaceStanding(models.Model):
    """The view `workspace_standings`: every active person's one role in every workspace where they
    have one, deleted workspaces included."""

    pk = models.CompositePrimaryKey("workspace_id", "user_id")
    workspace = models.ForeignKey(Workspace, models.DO_NOTHING, related_name="standings")
    user_id = models.UUIDField()
    role = models.CharField(max_length=10)

    class Meta:
        db_table = "workspace_standings"
        managed = False

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class FileNode(models.Model):
    """A file or directory. Its id is stable over moves, and names its collaboration room."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="nodes")
    path = models.CharField(max_length=1024, db_collation="C")
    folded_path = models.CharField(max_length=2048, db_collation="C")
    kind = models.CharField(max_length=10, choices=choices(NodeKind))
    version = models.PositiveIntegerField(default=0)
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    eol = models.CharField(max_length=4, blank=True, default="")
    has_bom = models.BooleanField(default=False)
    doc_seq = models.PositiveBigIntegerField(default=0)
    depth = models.GeneratedField(
        expression=Length("path") - Length(Replace("path", Value("/"))) + 1,
        output_field=models.IntegerField(),
        db_persist=True,
    )
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "file_nodes"
        indexes = [
            models.Index(fields=["workspace", "path"], name="file_nodes_order"),
            models.Index(fields=["workspace", "depth", "path"], name="file_nodes_depth"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "folded_path"], name="file_nodes_path"),
            one_of("kind", NodeKind, "file_nodes_kind"),
            models.CheckConstraint(
                condition=Q(kind="file", version__gte=1)
                | Q(kind="directory", version=0, size=0, sha256=""),
                name="file_nodes_version",
            ),
        ]

    def __str__(self) -> str:
        return self.path


class Blob(models.Model):
    """Content by digest, shared inside one organization only.

    `touched_at` moves whenever somebody stores the same content again: a blob that no version
    names is swept only when it was left alone for a while.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(Organization, models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(db_default=Now())
    touched_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "blobs"
        indexes = [models.Index(fields=["touched_at"], name="blobs_touched")]
        constraints = [
            models.UniqueConstraint(fields=["organization", "sha256"], name="blobs_digest")
        ]

    def __str__(self) -> str:
        return self.sha256


class BlobChunk(models.Model):
    """At most 1 MiB of a blob."""

    blob = models.ForeignKey(Blob, models.CASCADE, related_name="chunks")
    no = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "blob_chunks"
        constraints = [models.UniqueConstraint(fields=["blob", "no"], name="blob_chunks_no")]

    def __str__(self) -> str:
        return f"{self.blob_id} {self.no}"


class FileVersionRow(models.Model):
    """One version of a file; 100 of them, or 90 days, are kept."""

    file = models.ForeignKey(FileNode, models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="+")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    origin = models.CharField(max_length=10, choices=choices(Origin))
    run_id = models.UUIDField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "file_versions"
        indexes = [models.Index(fields=["created_at"], name="file_versions_age")]
        constraints = [
            models.UniqueConstraint(fields=["file", "version"], name="file_versions_version"),
            one_of("origin", Origin, "file_versions_origin"),
        ]

    def __str__(self) -> str:
        return f"{self.file_id} v{self.version}"


class OrganizationStorage(models.Model):
    """The bytes of an organization's blobs, every kept version included."""

    organization = models.OneToOneField(
        Organization, models.CASCADE, primary_key=True, related_name="+"
    )
    bytes_used = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "organization_storage"

    def __str__(self) -> str:
        return f"{self.organization_id} {self.bytes_used}"


class FileWriteKey(models.Model):
    """An idempotency key of a write, and the version it made. Kept 24 hours."""

    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    fingerprint = models.BinaryField(max_length=32)
    version = models.ForeignKey(FileVersionRow, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "file_write_keys"
        indexes = [models.Index(fields=["created_at"], name="file_write_keys_age")]
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "user", "key"], name="file_write_keys_unique"
            )
        ]

    def __str__(self) -> str:
        return self.key


class ImportJob(models.Model):
    """An archive on its way into a workspace; one at a time there.

    A worker owns a running job until `lease_until` (database clock); `fence` grows with every
    owner, and only the newest may finish it. `problem` is the problem object of a failed one.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    workspace = models.ForeignKey(Workspace, models.CASCADE, related_name="imports")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    directory = models.CharField(max_length=1024, blank=True, default="")
    state = models.CharField(
        max_length=10, choices=choices(ImportState), default=ImportState.QUEUED.value
    )
    fence = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    archive_bytes = models.PositiveBigIntegerField(default=0)
    files_written = models.PositiveIntegerField(default=0)
    files_unchanged = models.PositiveIntegerField(default=0)
    problem = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "file_imports"
        constraints = [
            one_of("state", ImportState, "file_imports_state"),
            models.UniqueConstraint(
                fields=["workspace"],
                condition=Q(state__in=["queued", "running"]),
                name="file_imports_one_active",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["done", "failed"], finished_at__isnull=False)
                | (~Q(state__in=["done", "failed"]) & Q(finished_at__isnull=True)),
                name="file_imports_finished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.state}"


class ImportChunk(models.Model):
    """At most 1 MiB of an archive; gone when its job ends."""

    job = models.ForeignKey(ImportJob, models.CASCADE, related_name="chunks")
    no = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "file_import_chunks"
        constraints = [models.UniqueConstraint(fields=["job", "no"], name="file_import_chunks_no")]

    def __str__(self) -> str:
        return f"{self.job_id} {self.no}"
