"""`/api/v1/providers`: accounts, their models, their live test, and the aliases people call."""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.services import access as organization_access
from accounts.types import Permission
from ideplatform.kit import ids, paging
from ideplatform.kit.errors import MalformedRequest
from ideplatform.kit.serializers import read, wrong
from providers import selectors
from providers.api import serializers
from providers.models import Provider as ProviderRow
from providers.models import ProviderModel
from providers.services import access, aliases, directory, models, providers, routing, testing
from providers.types import ProviderScope, ProviderType

_TAG: Final = re.compile(r'"v([1-9][0-9]{0,8})"')
_STATES: Final = {"enabled": True, "disabled": False}


class Providers(APIView):
    permissions = {"GET": Permission.PROVIDER_USE, "POST": Permission.PROVIDER_MANAGE}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        organization_access.authorise_listing(actor, Permission.PROVIDER_USE)
        filters = {name: request.query_params.get(name, "") for name in ("type", "scope", "state")}
        page = paging.page(
            _filtered(selectors.providers_of(actor), filters),
            order=("id",),
            scope=f"providers:{actor.user_id}:{actor.api_key_id}:{sorted(filters.items())}",
            cursor=request.query_params.get("cursor", ""),
            limit=paging.read_limit(request.query_params.get("limit")),
        )
        verdicts = selectors.health_of([row.pk for row in page.items])
        items = [serializers.provider(row, verdicts.get(row.pk, [])) for row in page.items]
        return Response({"items": items, "next_cursor": page.next_cursor})

    def post(self, request: Request) -> Response:
        form = read(serializers.ProviderForm, request)
        row = providers.create(
            actor=actor_of(request),
            scope=ProviderScope(form["scope"]),
            organization_id=form["organization_id"],
            workspace_id=form["workspace_id"],
            draft=serializers.draft(form),
        )
        return _one(row, status=201)


class Provider(APIView):
    permissions = {
        "GET": Permission.PROVIDER_USE,
        "PUT": Permission.PROVIDER_MANAGE,
        "DELETE": Permission.PROVIDER_MANAGE,
    }

    def get(self, request: Request, provider_id: str) -> Response:
        return _one(access.use(actor_of(request), _parsed(provider_id)))

    def put(self, request: Request, provider_id: str) -> Response:
        actor = actor_of(request)
        form = read(serializers.ProviderChangeForm, request)
        row = providers.update(
            actor=actor,
            provider_id=_parsed(provider_id),
            changes=serializers.changes(form),
            version=_stated_version(request),
        )
        return _one(row)

    def delete(self, request: Request, provider_id: str) -> Response:
        providers.delete(
            actor=actor_of(request),
            provider_id=_parsed(provider_id),
            version=_stated_version(request),
        )
        return Response(status=204)


class Test(APIView):
    permissions = {"POST": Permission.PROVIDER_MANAGE}

    def post(self, request: Request, provider_id: str) -> Response:
        form = read(serializers.TestForm, request)
        report = testing.saved(
            actor=actor_of(request),
            provider_id=_parsed(provider_id),
            generates=form["generate"],
            model=form["model"],
        )
        return Response(serializers.report(report))


class TestDraft(APIView):
    permissions = {"POST": Permission.PROVIDER_MANAGE}

    def post(self, request: Request) -> Response:
        form = read(serializers.TestDraftForm, request)
        report = testing.unsaved(
            actor=actor_of(request),
            scope=ProviderScope(form["scope"]),
            organization_id=form["organization_id"],
            workspace_id=form["workspace_id"],
            draft=serializers.draft(form),
        )
        return Response(serializers.report(report))


class ProviderModels(APIView):
    permissions = {"GET": Permission.PROVIDER_USE}

    def get(self, request: Request, provider_id: str) -> Response:
        row = access.use(actor_of(request), _parsed(provider_id))
        return _model_page(request, selectors.offers(row), scope=f"provider-models:{row.pk}")


class Refresh(APIView):
    permissions = {"POST": Permission.PROVIDER_MANAGE}

    def post(self, request: Request, provider_id: str) -> Response:
        key = _parsed(provider_id)
        models.refresh(actor=actor_of(request), provider_id=key)
        row = access.use(actor_of(request), key)
        return _model_page(request, selectors.offers(row), scope=f"provider-models:{row.pk}")


class Models(APIView):
    permissions = {"GET": Permission.PROVIDER_USE}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        organization_access.authorise_listing(actor, Permission.PROVIDER_USE)
        scope = f"models:{actor.user_id}:{actor.api_key_id}"
        return _model_page(request, selectors.models_of(actor), scope=scope)


class Aliases(APIView):
    permissions = {"GET": Permission.PROVIDER_USE}

    def get(self, request: Request) -> Response:
        """The aliases in reach, each as it would be answered in the named workspace."""
        actor = actor_of(request)
        organization_access.authorise_listing(actor, Permission.PROVIDER_USE)
        context = access.context(actor, _optional_id(request, "workspace_id"))
        page = paging.page(
            selectors.aliases_of(actor),
            order=("name", "id"),
            scope=f"aliases:{actor.user_id}:{actor.api_key_id}",
            cursor=request.query_params.get("cursor", ""),
            limit=paging.read_limit(request.query_params.get("limit")),
        )
        accounts = routing.Accounts(directory.Tables(context))
        items = [serializers.alias(row, accounts.behind(row)) for row in page.items]
        return Response({"items": items, "next_cursor": page.next_cursor})


class Alias(APIView):
    permissions = {"PUT": Permission.PROVIDER_MANAGE, "DELETE": Permission.PROVIDER_MANAGE}

    def put(self, request: Request, name: str) -> Response:
        actor = actor_of(request)
        form = read(serializers.AliasForm, request)
        home = access.manage_scope(
            actor,
            ProviderScope(form["scope"]),
            organization_id=form["organization_id"],
            workspace_id=form["workspace_id"],
        )
        content = aliases.Content(
            targets=form["targets"],
            description=form["description"],
            selected_model=form["selected_model"],
        )
        row = aliases.put(actor=actor, name=name, home=home, content=content)
        context = access.context(actor, home.workspace_id)
        accounts = routing.Accounts(directory.Tables(context))
        return Response(serializers.alias(row, accounts.behind(row)))

    def delete(self, request: Request, name: str) -> Response:
        """The scope and its id come as parameters, as in the body of PUT."""
        actor = actor_of(request)
        scope = _scope(request.query_params.get("scope", ProviderScope.USER.value))
        home = access.manage_scope(
            actor,
            scope,
            organization_id=_optional_id(request, "organization_id"),
            workspace_id=_optional_id(request, "workspace_id"),
        )
        aliases.remove(actor=actor, name=name, home=home)
        return Response(status=204)


def _one(row: ProviderRow, *, status: int = 200) -> Response:
    verdicts = selectors.health_of([row.pk]).get(row.pk, [])
    body = serializers.provider(row, verdicts)
    return Response(body, status=status, headers={"ETag": f'"v{row.version}"'})


def _model_page(request: Request, rows: QuerySet[ProviderModel], *, scope: str) -> Response:
    page = paging.page(
        rows.select_related("provider"),
        order=("model_id", "id"),
        scope=scope,
        cursor=request.query_params.get("cursor", ""),
        limit=paging.read_limit(request.query_params.get("limit")),
    )
    known = directory.limits_of(page.items)
    items = [serializers.model(row, known[row.pk]) for row in page.items]
    return Response({"items": items, "next_cursor": page.next_cursor})


def _filtered(rows: QuerySet[ProviderRow], filters: dict[str, str]) -> QuerySet[ProviderRow]:
    if filters["type"]:
        if filters["type"] not in set(ProviderType):
            raise wrong("/type", "not a provider type")
        rows = rows.filter(type=filters["type"])
    if filters["scope"]:
        rows = rows.filter(scope=_scope(filters["scope"]))
    if filters["state"]:
        if filters["state"] not in _STATES:
            raise wrong("/state", "enabled or disabled")
        rows = rows.filter(is_enabled=_STATES[filters["state"]])
    return rows


def _scope(text: str) -> ProviderScope:
    if text not in set(ProviderScope):
        raise wrong("/scope", "not a scope")
    return ProviderScope(text)


def _parsed(text: str) -> UUID:
    return ids.parse(text, prefix=selectors.PREFIX)


def _optional_id(request: Request, name: str) -> UUID | None:
    text = request.query_params.get(name, "")
    return ids.parse(text) if text else None


def _stated_version(request: Request) -> int | None:
    """The version named by `If-Match`, None when absent: then the last write wins."""
    stated = request.headers.get("If-Match")
    if stated is None:
        return None
    found = _TAG.fullmatch(stated.strip())
    if found is None:
        raise MalformedRequest('If-Match names one version, as "v3"')
    return int(found[1])
