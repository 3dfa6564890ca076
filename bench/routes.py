"""The platform's routes and, under `bench/`, the floors of `bench.rest`."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import generics, pagination, permissions, renderers, serializers, throttling
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication

from accounts.api.authentication import NoAuthentication, actor_of
from accounts.types import Permission
from ideplatform.kit import lists, paging
from ideplatform.urls import urlpatterns as platform_urls
from workspaces import selectors
from workspaces.api import serializers as platform_serializers
from workspaces.models import Workspace, WorkspaceMembership

PAGE = 50


class Bare(APIView):
    """A view of the platform for which nobody signs in."""

    public = "a floor"
    authentication_classes = [NoAuthentication]
    throttle_classes: list[type[throttling.BaseThrottle]] = []

    def get(self, _request: Request) -> Response:
        return Response({"status": "ok"})


class Authenticated(APIView):
    """The same with authentication and a declared permission."""

    permissions = {"GET": Permission.WORKSPACE_VIEW}
    throttle_classes: list[type[throttling.BaseThrottle]] = []

    def get(self, request: Request) -> Response:
        actor_of(request)
        return Response({"status": "ok"})


class Counted(Authenticated):
    """The same with the limit of requests: what every view of the platform costs."""

    throttle_classes = [*APIView.throttle_classes]


def _listing(rows: Callable[[Request], QuerySet[Workspace]]) -> type[APIView]:
    """A list of workspaces as any list of the platform is made, over these rows."""

    class List(APIView):
        permissions = {"GET": Permission.WORKSPACE_VIEW}

        def get(self, request: Request) -> Response:
            actor = actor_of(request)
            page = paging.page(
                rows(request),
                order=("-created_at", "-id"),
                scope=f"workspaces:{actor.user_id}:{actor.api_key_id}",
                limit=PAGE,
            )
            return lists.answer(page, lambda row: platform_serializers.workspace(row, role=None))

    return List


class StockSerializer(serializers.ModelSerializer[Workspace]):
    """The fields of the platform's list, as Django REST framework's tutorial would write them."""

    role = serializers.CharField(read_only=True)

    class Meta:
        model = Workspace
        fields = [
            *("id", "name", "owner_id", "organization_id", "settings", "visibility"),
            *("default_role", "revision", "file_count", "bytes_used", "created_at", "updated_at"),
            "role",
        ]


class StockPagination(pagination.PageNumberPagination):
    page_size = PAGE


class StockList(generics.ListAPIView[Workspace]):
    """The same list by stock parts: simplejwt, ModelSerializer, page numbers, JSON renderer."""

    authentication_classes = [JWTAuthentication]
    permission_classes = [permissions.IsAuthenticated]
    throttle_classes: list[type[throttling.BaseThrottle]] = []
    renderer_classes = [renderers.JSONRenderer]
    pagination_class = StockPagination
    serializer_class = StockSerializer

    def get_queryset(self) -> QuerySet[Workspace]:
        user_id = str(self.request.user.pk)
        own = WorkspaceMembership.objects.filter(workspace=OuterRef("pk"), user_id=user_id)
        mine = Workspace.objects.filter(memberships__user_id=user_id, deleted_at__isnull=True)
        return mine.annotate(role=Subquery(own.values("role"))).order_by("-created_at", "-id")


def select_one(_request: HttpRequest) -> HttpResponse:
    """An empty view that asks the database whether it is there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse(b"{}", content_type="application/json")


_scoped = _listing(lambda request: selectors.workspaces_of(actor_of(request)))
_unscoped = _listing(lambda _request: Workspace.objects.filter(deleted_at__isnull=True))

urlpatterns = [
    *platform_urls,
    path("bench/bare", Bare.as_view()),
    path("bench/authenticated", Authenticated.as_view()),
    path("bench/counted", Counted.as_view()),
    path("bench/scoped", _scoped.as_view()),
    path("bench/unscoped", _unscoped.as_view()),
    path("bench/stock", StockList.as_view()),
    path("bench/select-one", select_one),
]
