"""`/api/v1/organizations`: teams, their members and their audit log."""

from __future__ import annotations

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.api import serializers
from accounts.api.authentication import actor_of
from accounts.services import access, members, organizations
from accounts.services.members import Person
from accounts.types import OrganizationRole, Permission
from ideplatform.kit import lists
from ideplatform.kit.serializers import read


class Organizations(APIView):
    permissions = {"GET": Permission.ORGANIZATION_VIEW, "POST": Permission.SELF}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        access.authorise_listing(actor, Permission.ORGANIZATION_VIEW)
        page = lists.asked(
            request,
            selectors.memberships_of(actor),
            order=("organization_id",),
            scope=f"organizations:{actor.user_id}:{actor.key_organization_id}",
        )
        return lists.answer(page, lambda row: serializers.organization(row.organization, row.role))

    def post(self, request: Request) -> Response:
        form = read(serializers.OrganizationForm, request)
        organization = organizations.create(actor=actor_of(request), **form)
        return Response(serializers.organization(organization, OrganizationRole.OWNER), status=201)


class Organization(APIView):
    permissions = {
        "GET": Permission.ORGANIZATION_VIEW,
        "PATCH": Permission.ORGANIZATION_MANAGE,
        "DELETE": Permission.ORGANIZATION_DELETE,
    }

    def get(self, request: Request, organization_id: UUID) -> Response:
        ref = access.authorise(actor_of(request), Permission.ORGANIZATION_VIEW, organization_id)
        return Response(serializers.organization(selectors.organization(ref), ref.role))

    def patch(self, request: Request, organization_id: UUID) -> Response:
        form = read(serializers.OrganizationChangeForm, request)
        row, role = organizations.update(
            actor=actor_of(request), organization_id=organization_id, **form
        )
        return Response(serializers.organization(row, role))

    def delete(self, request: Request, organization_id: UUID) -> Response:
        organizations.delete(actor=actor_of(request), organization_id=organization_id)
        return Response(status=204)


class Members(APIView):
    permissions = {"GET": Permission.ORGANIZATION_VIEW, "POST": Permission.ORGANIZATION_MANAGE}
    session_only = True

    def get(self, request: Request, organization_id: UUID) -> Response:
        ref = access.authorise(actor_of(request), Permission.ORGANIZATION_VIEW, organization_id)
        page = lists.asked(
            request,
            selectors.members_of(ref),
            order=("id",),
            scope=f"members:{organization_id}",
        )
        return lists.answer(page, serializers.member)

    def post(self, request: Request, organization_id: UUID) -> Response:
        form = read(serializers.MemberForm, request)
        membership = members.add(
            actor=actor_of(request),
            organization_id=organization_id,
            person=Person(user_id=form.get("user_id"), email=form.get("email", "")),
            role=OrganizationRole(form["role"]),
        )
        return Response(serializers.member(membership), status=201)


class Member(APIView):
    permissions = {
        "PUT": Permission.ORGANIZATION_MANAGE,
        "DELETE": Permission.ORGANIZATION_MANAGE,
    }
    session_only = True

    def put(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        form = read(serializers.RoleForm, request)
        membership = members.change_role(
            actor=actor_of(request),
            organization_id=organization_id,
            user_id=user_id,
            role=OrganizationRole(form["role"]),
        )
        return Response(serializers.member(membership))

    def delete(self, request: Request, organization_id: UUID, user_id: UUID) -> Response:
        members.remove(actor=actor_of(request), organization_id=organization_id, user_id=user_id)
        return Response(status=204)


class Audit(APIView):
    permissions = {"GET": Permission.AUDIT_VIEW}
    session_only = True

    def get(self, request: Request, organization_id: UUID) -> Response:
        ref = access.authorise(actor_of(request), Permission.AUDIT_VIEW, organization_id)
        page = lists.asked(
            request,
            selectors.audit_of(ref),
            order=("-at", "-id"),
            scope=f"audit:{organization_id}",
        )
        return lists.answer(page, serializers.audit_event)
