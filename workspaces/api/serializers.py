"""What workspaces' REST accepts and answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ideplatform.kit import ids
from ideplatform.kit.serializers import PersonForm, StrictSerializer
from workspaces import selectors
from workspaces.models import FileNode, FileVersionRow, ImportJob, Workspace, WorkspaceMembership
from workspaces.services.search import Found
from workspaces.services.workspaces import Changes
from workspaces.types import FileVersion, ListedWorkspace, Visibility, WorkspaceRole

_DEFAULT_ROLES = [WorkspaceRole.EDITOR.value, WorkspaceRole.VIEWER.value]
_ENCODINGS = ["utf-8", "base64"]
# A name goes into headers, file names and logs: no control characters, one line.
_ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"


class WorkspaceForm(StrictSerializer):
    name = serializers.RegexField(_ONE_LINE, max_length=255)
    settings = serializers.DictField(required=False)
    visibility = serializers.ChoiceField([v.value for v in Visibility], required=False)
    default_role = serializers.ChoiceField(_DEFAULT_ROLES, required=False)
    organization_id = serializers.UUIDField(required=False)


class WorkspaceChangeForm(StrictSerializer):
    name = serializers.RegexField(_ONE_LINE, max_length=255, required=False)
    settings = serializers.DictField(required=False)
    visibility = serializers.ChoiceField([v.value for v in Visibility], required=False)
    default_role = serializers.ChoiceField(_DEFAULT_ROLES, required=False)


class RoleForm(StrictSerializer):
    role = serializers.ChoiceField([role.value for role in WorkspaceRole])


class MemberForm(RoleForm, PersonForm):
    """Who becomes a member, and in which role."""


class ContentForm(StrictSerializer):
    content = serializers.CharField(allow_blank=True, trim_whitespace=False)
    encoding = serializers.ChoiceField(_ENCODINGS, default="utf-8")


class DirectoryForm(StrictSerializer):
    path = serializers.CharField(max_length=1_024, trim_whitespace=False)


class RestoreForm(StrictSerializer):
    path = serializers.CharField(max_length=1_024, trim_whitespace=False)
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class MoveForm(StrictSerializer):
    """`from` is a word of the language, so the field is added by name."""

    to = serializers.CharField(max_length=1_024, trim_whitespace=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        source = serializers.CharField(max_length=1_024, trim_whitespace=False)
        return {"from": source, **super().get_fields()}


def changes(form: dict[str, Any]) -> Changes:
    """The members of a form that a workspace has."""
    visibility, default_role = form.get("visibility"), form.get("default_role")
    return Changes(
        name=form.get("name"),
        settings=form.get("settings"),
        visibility=Visibility(visibility) if visibility else None,
        default_role=WorkspaceRole(default_role) if default_role else None,
    )


def workspace(row: Workspace | ListedWorkspace, *, role: str | None) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "owner_id": row.owner_id,
        "organization_id": row.organization_id,
        "settings": row.settings,
        "visibility": row.visibility,
        "default_role": row.default_role,
        "role": role,
        "revision": row.revision,
        "file_count": row.file_count,
        "bytes_used": row.bytes_used,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def member(row: WorkspaceMembership) -> dict[str, object]:
    return {
        "user_id": row.user_id,
        "email": row.user.email,
        "full_name": row.user.full_name,
        "role": row.role,
        "is_guest": not row.follows_organization,
        "created_at": row.created_at,
    }


def node(row: FileNode) -> dict[str, object]:
    return {
        "file_id": file_id(row),
        "path": row.path,
        "kind": row.kind,
        "version": row.version,
        "size": row.size,
        "sha256": row.sha256,
        "eol": row.eol,
        "bom": row.has_bom,
        "updated_at": row.updated_at,
    }


def version(value: FileVersion) -> dict[str, object]:
    return {
        "file_id": ids.public(selectors.FILE_PREFIX, value.file_id),
        "path": value.path,
        "version": value.version,
        "size": value.size,
        "sha256": value.sha256,
        "author_id": value.author_id,
        "run_id": value.run_id,
        "origin": value.origin,
        "created_at": value.created_at,
    }


def kept_version(row: FileVersionRow) -> dict[str, object]:
    return {
        "version": row.version,
        "size": row.blob.size,
        "sha256": row.blob.sha256,
        "author_id": row.author_id,
        "run_id": row.run_id,
        "origin": row.origin,
        "created_at": row.created_at,
    }


def found(result: Found) -> dict[str, object]:
    return {
        "matches": [
            {
                "file_id": ids.public(selectors.FILE_PREFIX, match.file_id),
                "path": match.path,
                "line": match.line,
                "column": match.column,
                "length": match.length,
                "text": match.text,
                "offset": match.offset,
            }
            for match in result.matches
        ],
        "files_searched": result.files_searched,
        "truncated": result.is_truncated,
    }


def import_job(row: ImportJob) -> dict[str, object]:
    return {
        "id": row.pk,
        "state": row.state,
        "path": row.directory,
        "archive_bytes": row.archive_bytes,
        "files_written": row.files_written,
        "files_unchanged": row.files_unchanged,
        "problem": row.problem,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
    }


def file_id(row: FileNode) -> str:
    return ids.public(selectors.FILE_PREFIX, row.pk)
