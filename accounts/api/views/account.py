"""One's own account: `/api/v1/auth/{me,sessions,api-keys}`."""

from __future__ import annotations

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.api import serializers
from accounts.api.authentication import actor_of
from accounts.services import api_keys, profile, sessions
from accounts.types import KeyKind, Permission, Scope
from ideplatform.kit import lists
from ideplatform.kit.serializers import read


class Me(APIView):
    permissions = {
        "GET": Permission.SELF,
        "PATCH": Permission.SELF,
        "DELETE": Permission.SELF,
    }

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        organizations = [
            serializers.organization(row.organization, row.role)
            for row in selectors.memberships_of(actor)
        ]
        body = serializers.user(selectors.user_of(actor))
        return Response(body | {"organizations": organizations, "is_staff": actor.is_staff})

    def patch(self, request: Request) -> Response:
        changes = read(serializers.ProfileForm, request)
        user = profile.update(actor=actor_of(request), changes=changes)
        return Response(serializers.user(user))

    def delete(self, request: Request) -> Response:
        form = read(serializers.PasswordForm, request)
        profile.delete(actor=actor_of(request), password=form["password"])
        return Response(status=204)


class Sessions(APIView):
    permissions = {"GET": Permission.SELF, "DELETE": Permission.SELF}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        page = lists.asked(
            request,
            selectors.sessions_of(actor),
            order=("-created_at", "-id"),
            scope=f"sessions:{actor.user_id}",
        )
        return lists.answer(
            page, lambda row: serializers.session(row, current=row.pk == actor.session_id)
        )

    def delete(self, request: Request) -> Response:
        actor = actor_of(request)
        sessions.revoke_all(user_id=actor.user_id, reason="user", keep=actor.session_id)
        return Response(status=204)


class Session(APIView):
    permissions = {"DELETE": Permission.SELF}

    def delete(self, request: Request, session_id: UUID) -> Response:
        actor = actor_of(request)
        sessions.revoke(user_id=actor.user_id, session_id=session_id, reason="user")
        return Response(status=204)


class ApiKeys(APIView):
    permissions = {"GET": Permission.SELF, "POST": Permission.SELF}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        page = lists.asked(
            request,
            selectors.api_keys_of(actor),
            order=("-created_at", "-id"),
            scope=f"api_keys:{actor.user_id}",
        )
        return lists.answer(page, serializers.api_key)

    def post(self, request: Request) -> Response:
        form = read(serializers.ApiKeyForm, request)
        actor = actor_of(request)
        key, secret = api_keys.create(
            actor=actor,
            organization_id=form.get("organization_id")
            or selectors.personal_organization_id(actor),
            name=form["name"],
            scopes={Scope(scope) for scope in form["scopes"]},
            kind=KeyKind(form["kind"]),
            workspace_id=form["workspace_id"],
            expires_at=form["expires_at"],
        )
        return Response(serializers.api_key(key) | {"key": secret.reveal()}, status=201)


class ApiKey(APIView):
    permissions = {"DELETE": Permission.SELF}

    def delete(self, request: Request, key_id: UUID) -> Response:
        api_keys.revoke(actor=actor_of(request), key_id=key_id)
        return Response(status=204)


class ApiKeyRotation(APIView):
    permissions = {"POST": Permission.SELF}

    def post(self, request: Request, key_id: UUID) -> Response:
        key, secret = api_keys.rotate(actor=actor_of(request), key_id=key_id)
        return Response(serializers.api_key(key) | {"key": secret.reveal()})
