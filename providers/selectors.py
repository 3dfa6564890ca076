"""Reads: the actor first, so that a foreign row cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts import selectors as people
from accounts.types import ORGANIZATION_PERMISSIONS, Actor, Permission
from ideplatform.kit.errors import NotFound
from providers.models import (
    ModelAlias,
    Provider,
    ProviderHealth,
    ProviderModel,
    StoredResponse,
)
from providers.types import CallContext, ProviderScope
from workspaces import selectors as workspaces
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.types import Visibility, WorkspaceRole

PREFIX = "prv"


def providers_of(actor: Actor) -> QuerySet[Provider]:
    """The accounts that the actor may use."""
    return Provider.objects.filter(_within_reach(actor), deleted_at__isnull=True)


def aliases_of(actor: Actor) -> QuerySet[ModelAlias]:
    """The aliases that the actor may call."""
    return ModelAlias.objects.filter(_within_reach(actor)).prefetch_related("targets")


def models_of(actor: Actor) -> QuerySet[ProviderModel]:
    """The models of the accounts that the actor may use."""
    return ProviderModel.objects.filter(provider__in=providers_of(actor)).select_related("provider")


def known(provider_id: UUID) -> Provider | None:
    """The row itself, for `services.access`, which judges who may have it."""
    return Provider.objects.filter(pk=provider_id, deleted_at__isnull=True).first()


def platform_account(slug: str) -> Provider | None:
    """The platform's own account of a slug, for its set-up."""
    accounts = Provider.objects.filter(scope=ProviderScope.PLATFORM, deleted_at__isnull=True)
    return accounts.filter(slug=slug).first()


def offers(provider: Provider) -> QuerySet[ProviderModel]:
    """The models of an account that was authorised."""
    return provider.models.order_by("model_id")


def health_of(provider_ids: list[UUID]) -> dict[UUID, list[ProviderHealth]]:
    """The verdicts about some accounts and their models."""
    found: dict[UUID, list[ProviderHealth]] = {}
    for row in ProviderHealth.objects.filter(provider_id__in=provider_ids).order_by("model"):
        found.setdefault(row.provider_id, []).append(row)
    return found


def stored_response(context: CallContext, response_id: UUID) -> StoredResponse:
    """A response that the caller may read; raises NotFound for another's too."""
    row = _responses_of(context).filter(pk=response_id).first()
    if row is None:
        raise NotFound
    return row


def responses_with_items(context: CallContext, item_ids: Sequence[str]) -> QuerySet[StoredResponse]:
    """The caller's ended responses that have one of these output items."""
    return _responses_of(context).filter(ended_at__isnull=False, item_ids__overlap=list(item_ids))


def _responses_of(context: CallContext) -> QuerySet[StoredResponse]:
    return StoredResponse.objects.filter(
        user_id=context.user_id,
        organization_id=context.organization_id,
        expires_at__gt=Now(),
    )


def _within_reach(actor: Actor) -> Q:
    if not actor.scope_allows(Permission.PROVIDER_USE):
        return Q(pk__in=[])
    roles = [
        role
        for role, permissions in ORGANIZATION_PERMISSIONS.items()
        if Permission.PROVIDER_USE in permissions
    ]
    rows = Q(scope=ProviderScope.PLATFORM) | Q(
        scope=ProviderScope.WORKSPACE,
        workspace__in=_workspaces_to_work_in(actor),
    )
    if actor.key_workspace_id is not None:
        return rows
    organizations = people.memberships_of(actor).filter(role__in=roles).values("organization_id")
    rows |= Q(scope=ProviderScope.ORGANIZATION, organization__in=organizations)
    if actor.key_organization_id in (None, people.personal_organization_id(actor)):
        rows |= Q(scope=ProviderScope.USER, owner_id=actor.user_id)
    return rows


def _workspaces_to_work_in(actor: Actor) -> QuerySet[Workspace]:
    """The actor's workspaces where the role is more than a viewer's: only those give accounts."""
    own = WorkspaceMembership.objects.filter(user_id=actor.user_id).values("workspace_id")
    working = own.filter(role__in=(WorkspaceRole.OWNER, WorkspaceRole.EDITOR))
    led = people.memberships_of(actor).filter(role__in=workspaces.ADMINISTRATORS)
    return workspaces.workspaces_of(actor).filter(
        Q(pk__in=working)
        | Q(organization__in=led.values("organization_id"))
        | (
            ~Q(pk__in=own)
            & Q(visibility=Visibility.ORGANIZATION, default_role=WorkspaceRole.EDITOR)
        )
    )
