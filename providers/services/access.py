"""Who may use and who may change a provider account or an alias, by its scope."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from accounts import selectors as people
from accounts.errors import ScopeMissing
from accounts.services import access
from accounts.types import Actor, Permission, Scope
from ideplatform.kit import accounting
from ideplatform.kit.errors import InvalidInput, NotFound, Pointer
from providers import selectors
from providers.models import Provider
from providers.types import CallContext, ProviderScope
from workspaces.services import access as workspace_access


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a row lives: exactly the ids that its scope has."""

    scope: ProviderScope
    organization_id: UUID | None = None
    workspace_id: UUID | None = None


def use(actor: Actor, provider_id: UUID) -> Provider:
    """An account that the actor may use; raises NotFound, Forbidden."""
    return _reached(actor, provider_id, Permission.PROVIDER_USE)


def manage(actor: Actor, provider_id: UUID) -> Provider:
    """An account that the actor may change.

    Raises NotFound for who may not even see it, Forbidden for who may only use it.
    """
    return _reached(actor, provider_id, Permission.PROVIDER_MANAGE)


def manage_scope(
    actor: Actor,
    scope: ProviderScope,
    *,
    organization_id: UUID | None = None,
    workspace_id: UUID | None = None,
) -> Home:
    """The home for new rows of a scope, when the actor may manage there.

    Raises InvalidInput when the ids do not fit the scope, NotFound, Forbidden.
    """
    _check_ids(scope, organization_id, workspace_id)
    if scope is ProviderScope.WORKSPACE and workspace_id is not None:
        ref = workspace_access.workspace(actor, workspace_id, Permission.PROVIDER_MANAGE)
        return Home(scope=scope, organization_id=ref.organization_id, workspace_id=ref.id)
    home = Home(scope=scope, organization_id=organization_id)
    _judge(actor, home, owner_id=actor.user_id, permission=Permission.PROVIDER_MANAGE)
    return home


def context(actor: Actor, workspace_id: UUID | None) -> CallContext:
    """For whom names are resolved: the actor, in a workspace they work in, else at home.

    Raises NotFound, Forbidden.
    """
    organization_id = people.personal_organization_id(actor)
    if workspace_id is not None:
        ref = workspace_access.workspace(actor, workspace_id, Permission.PROVIDER_USE)
        organization_id = ref.organization_id
    return CallContext(
        user_id=actor.user_id,
        organization_id=organization_id,
        workspace_id=workspace_id,
        api_key_id=actor.api_key_id,
    )


def payer(
    actor: Actor, *, workspace_id: UUID | None = None, organization_id: UUID | None = None
) -> CallContext:
    """Who pays for the actor's gateway calls: the named workspace's organization, the named one,
    the key's own, else the personal one.

    Raises ScopeMissing for a key without `gateway:call`, NotFound and Forbidden for places.
    """
    if actor.scopes is not None and Scope.GATEWAY_CALL not in actor.scopes:
        accounting.record(Permission.PROVIDER_USE, "deny")
        raise ScopeMissing
    workspace_id = workspace_id or actor.key_workspace_id
    if workspace_id is not None:
        ref = workspace_access.workspace(actor, workspace_id, Permission.PROVIDER_USE)
        if organization_id not in (None, ref.organization_id):
            raise NotFound
        payer_id = ref.organization_id
    else:
        named_id = organization_id or actor.key_organization_id
        payer_id = named_id or people.personal_organization_id(actor)
        access.authorise(actor, Permission.PROVIDER_USE, payer_id)
    return CallContext(
        user_id=actor.user_id,
        organization_id=payer_id,
        workspace_id=workspace_id,
        api_key_id=actor.api_key_id,
    )


def _reached(actor: Actor, provider_id: UUID, permission: Permission) -> Provider:
    provider = selectors.known(provider_id)
    if provider is None:
        accounting.record(permission, "deny")
        raise NotFound
    _judge(actor, _home(provider), owner_id=provider.owner_id, permission=permission)
    return provider


def _judge(actor: Actor, home: Home, *, owner_id: UUID | None, permission: Permission) -> None:
    """Each scope has its own judge; a stranger learns nothing, not even that the row exists."""
    match home.scope:
        case ProviderScope.WORKSPACE if home.workspace_id is not None:
            workspace_access.workspace(actor, home.workspace_id, permission)
        case ProviderScope.ORGANIZATION if home.organization_id is not None:
            access.authorise(actor, permission, home.organization_id)
        case ProviderScope.USER:
            if owner_id != actor.user_id:
                accounting.record(permission, "deny")
                raise NotFound
            access.authorise(actor, permission, people.personal_organization_id(actor))
        case _ if permission is Permission.PROVIDER_USE:
            access.authorise_listing(actor, permission)
        case _:
            access.authorise_platform(actor)


def _home(row: Provider) -> Home:
    return Home(
        scope=ProviderScope(row.scope),
        organization_id=row.organization_id,
        workspace_id=row.workspace_id,
    )


def _check_ids(
    scope: ProviderScope, organization_id: UUID | None, workspace_id: UUID | None
) -> None:
    wants_organization = scope is ProviderScope.ORGANIZATION
    wants_workspace = scope is ProviderScope.WORKSPACE
    faults = [
        Pointer(pointer=f"/{name}", detail=f"does not fit the scope {scope.value}")
        for name, value, is_wanted in (
            ("organization_id", organization_id, wants_organization),
            ("workspace_id", workspace_id, wants_workspace),
        )
        if (value is not None) != is_wanted
    ]
    if faults:
        raise InvalidInput(errors=faults)
