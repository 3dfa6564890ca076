"""`/api/v1/workspaces`: the list, one workspace, its members."""

from __future__ import annotations

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.services import access as organization_access
from accounts.types import Permission
from ideplatform.kit import lists
from ideplatform.kit.serializers import read
from workspaces import selectors
from workspaces.api import conditions, serializers
from workspaces.models import Workspace as WorkspaceRow
from workspaces.services import access, members, workspaces
from workspaces.types import WorkspaceRole


def _one(row: WorkspaceRow, role: str | None, *, status: int = 200) -> Response:
    headers = {"ETag": conditions.revision_tag(row.revision)}
    return Response(serializers.workspace(row, role=role), status=status, headers=headers)


class Workspaces(APIView):
    permissions = {"GET": Permission.WORKSPACE_VIEW, "POST": Permission.WORKSPACE_CREATE}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        organization_access.authorise_listing(actor, Permission.WORKSPACE_VIEW)
        cursor, limit = lists.place(request)
        page = selectors.listed(actor, cursor=cursor, limit=limit)
        return lists.answer(page, lambda row: serializers.workspace(row, role=row.role))

    def post(self, request: Request) -> Response:
        form = read(serializers.WorkspaceForm, request)
        row = workspaces.create(
            actor=actor_of(request),
            organization_id=form.pop("organization_id", None),
            changes=serializers.changes(form),
        )
        return _one(row, WorkspaceRole.OWNER, status=201)


class Workspace(APIView):
    permissions = {
        "GET": Permission.WORKSPACE_VIEW,
        "PUT": Permission.WORKSPACE_MANAGE,
        "DELETE": Permission.WORKSPACE_MANAGE,
    }

    def get(self, request: Request, workspace_id: UUID) -> Response:
        ref = access.workspace(actor_of(request), workspace_id, Permission.WORKSPACE_VIEW)
        return _one(selectors.workspace(ref), ref.role)

    def put(self, request: Request, workspace_id: UUID) -> Response:
        form = read(serializers.WorkspaceChangeForm, request)
        row = workspaces.update(
            actor=actor_of(request),
            workspace_id=workspace_id,
            changes=serializers.changes(form),
            revision=conditions.stated_revision(request),
        )
        return _one(row, WorkspaceRole.OWNER)

    def delete(self, request: Request, workspace_id: UUID) -> Response:
        workspaces.delete(actor=actor_of(request), workspace_id=workspace_id)
        return Response(status=204)


class Members(APIView):
    permissions = {"GET": Permission.WORKSPACE_VIEW, "POST": Permission.WORKSPACE_MANAGE}
    session_only = True

    def get(self, request: Request, workspace_id: UUID) -> Response:
        ref = access.workspace(actor_of(request), workspace_id, Permission.WORKSPACE_VIEW)
        page = lists.asked(
            request,
            selectors.members(ref),
            order=("id",),
            scope=f"workspace-members:{workspace_id}",
        )
        return lists.answer(page, serializers.member)

    def post(self, request: Request, workspace_id: UUID) -> Response:
        form = read(serializers.MemberForm, request)
        row = members.add(
            actor=actor_of(request),
            workspace_id=workspace_id,
            role=WorkspaceRole(form["role"]),
            user_id=form.get("user_id"),
            email=form.get("email", ""),
        )
        return Response(serializers.member(row), status=201)


class Member(APIView):
    """Everybody may end their own membership; everything else is managing."""

    permissions = {"PUT": Permission.WORKSPACE_MANAGE, "DELETE": Permission.WORKSPACE_MANAGE}
    session_only = True

    def put(self, request: Request, workspace_id: UUID, user_id: UUID) -> Response:
        form = read(serializers.RoleForm, request)
        row = members.change_role(
            actor=actor_of(request),
            workspace_id=workspace_id,
            user_id=user_id,
            role=WorkspaceRole(form["role"]),
        )
        return Response(serializers.member(row))

    def delete(self, request: Request, workspace_id: UUID, user_id: UUID) -> Response:
        members.remove(actor=actor_of(request), workspace_id=workspace_id, user_id=user_id)
        return Response(status=204)
