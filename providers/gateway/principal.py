"""Who calls and who pays: one hop at most, none while this process may believe its memory.

A credential comes in `Authorization: Bearer`, `x-api-key` or `api-key`, never in the URL and never
as a cookie: a page of somebody else's could spend money with those. A key pays from its
organization, in its workspace if it is bound to one; a person from the own organization, or from
the one that `x-mundial-workspace` or `x-mundial-organization` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from accounts.services import authentication, feed, principals
from accounts.types import Actor, Permission
from ideplatform.kit import accounting, clock, ids
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import PlatformError
from providers.gateway.request import Request
from providers.services import access
from providers.types import CallContext

MAX_ENTRIES: Final = 10_000
_CREDENTIALS: Final[tuple[str, ...]] = ("authorization", "x-api-key", "api-key")
_WORKSPACE: Final = "x-mundial-workspace"
_ORGANIZATION: Final = "x-mundial-organization"
# What a query must hold to be able to hold a credential of ours: a key's prefix, a token's dots, or
# an escape that hides them.
_SUSPICIOUS: Final = ("imk_", ".", "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, and the context in which names are resolved and calls are paid."""

    actor: Actor
    context: CallContext


@dataclass(frozen=True, slots=True)
class _Standing:
    """A caller's rights as they were read."""

    context: CallContext
    read_at: float
    mark: int

    def is_current(self) -> bool:
        """Whether it may be believed now, if the feed is fresh and the credential good."""
        context = self.context
        subjects = (context.user_id, context.organization_id, context.workspace_id)
        return clock.now().timestamp() < self.read_at + principals.TTL_S and all(
            one is None or feed.latest(one) <= self.mark for one in subjects
        )


_standings: dict[tuple[Actor, str, str], _Standing] = {}


async def identify(request: Request) -> Caller:
    """The caller of a request.

    Raises Unauthenticated and its kinds (401), ScopeMissing and Forbidden (403), NotFound (404) for
    a workspace or organization that the caller has no part in.
    """
    headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
    workspace = request.headers.get(_WORKSPACE, "")
    organization = request.headers.get(_ORGANIZATION, "")
    if not any(sign in request.query for sign in _SUSPICIOUS):
        actor = authentication.recall(headers, ip="")
        standing = _standings.get((actor, workspace, organization)) if actor else None
        if actor is not None and standing is not None and standing.is_current():
            accounting.record(Permission.PROVIDER_USE, "allow")
            return Caller(actor=actor, context=standing.context)
    return await run_db(
        _read,
        headers,
        ip=request.ip,
        query=request.query,
        workspace=workspace,
        organization=organization,
    )


def _read(
    headers: Mapping[str, str], *, ip: str, query: str, workspace: str, organization: str
) -> Caller:
    mark, read_at = feed.watermark(), clock.now().timestamp()
    try:
        actor = authentication.authenticate(headers, ip=ip, query=query)
    except PlatformError:
        accounting.record(Permission.PROVIDER_USE, "deny")
        raise
    context = access.payer(
        actor,
        workspace_id=ids.parse(workspace) if workspace else None,
        organization_id=ids.parse(organization) if organization else None,
    )
    actor = principals.at_address(actor, "")
    _remember((actor, workspace, organization), _Standing(context, read_at, mark))
    return Caller(actor=actor, context=context)


def _remember(key: tuple[Actor, str, str], standing: _Standing) -> None:
    """Keep what was read; the oldest half goes when there are too many."""
    if len(_standings) >= MAX_ENTRIES:
        for old in list(_standings)[: MAX_ENTRIES // 2]:
            _standings.pop(old, None)
    _standings[key] = standing
