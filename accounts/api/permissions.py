"""Default deny: a view says which permission each method needs, or why it is public.

    class Files(APIView):
        permissions = {"GET": Permission.FILE_READ, "PUT": Permission.FILE_WRITE}

    class Login(APIView):
        public = "proves who somebody is"
        authentication_classes = [NoAuthentication]

`session_only = True` refuses API keys whatever their scopes. The permission at the *target* (an
organization, a workspace) is judged by the service or selector, which knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.services import access
from accounts.types import Actor, Permission
from ideplatform.kit import accounting
from ideplatform.kit.errors import Forbidden, MethodNotAllowed, Unauthenticated

if TYPE_CHECKING:  # DRF imports this module while it builds its views
    from rest_framework.views import APIView


class DeclaredPermission(BasePermission):
    """Refuses what is not declared, who is not signed in, and keys without the scope."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = "GET" if request.method == "HEAD" else str(request.method)
        accounting.enter(f"{method} {route_of(request)}")
        if method == "OPTIONS":  # DRF would describe the view's insides
            raise MethodNotAllowed
        if getattr(view, "public", ""):
            return True
        permission = _declared(view, method)
        actor = request.user
        if not isinstance(actor, Actor):
            raise Unauthenticated
        if getattr(view, "session_only", False):
            access.require_session(actor, permission)
        if permission == Permission.SELF:
            access.authorise_self(actor)
        else:
            access.require_scope(actor, permission)
        return True


def route_of(request: Request) -> str:
    """The pattern of the URL, the same for every id in it."""
    match = request.resolver_match
    return match.route if match is not None else ""


def _declared(view: APIView, method: str) -> Permission:
    permission = getattr(view, "permissions", {}).get(method)
    if isinstance(permission, Permission):
        return permission
    if not hasattr(view, method.lower()):
        raise MethodNotAllowed
    raise Forbidden("this method declares no permission")
