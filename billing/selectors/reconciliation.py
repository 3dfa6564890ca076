"""Who may compare an account's reports, and see what differed.

Operators with the right see all; an organization's owner the accounts whose vendor is paid with the
organization's own key, where nothing that is found moves money here.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from accounts.models import User
from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import ProviderCard, ReconLine, ReconRun
from billing.types import UNDECIDED, BillingMode, LineClass, LineStatus, Right
from ideplatform.kit import accounting, paging
from ideplatform.kit.errors import Forbidden, NotFound
from ideplatform.kit.paging import Page

_READING: Final = (Right.RECONCILE, Right.REVIEW)


def card(actor: Actor | None, provider_id: UUID) -> ProviderCard:
    """The account, when the actor (None: the platform itself) may compare its reports.

    Raises NotFound, Forbidden.
    """
    found = ProviderCard.objects.filter(pk=provider_id, deleted_at__isnull=True).first()
    if actor is None or _is_operator(actor, Right.RECONCILE):
        if found is None:
            raise NotFound
        return found
    _require_owner(actor, found)
    if found is None:
        raise NotFound
    return found


def require_operator(actor: Actor | None) -> None:
    """Every account of the platform at once is for operators. Raises Forbidden."""
    if actor is not None and not _is_operator(actor, Right.RECONCILE):
        accounting.record(Permission.RECONCILIATION_RUN, "deny")
        raise Forbidden


def run(actor: Actor, run_id: UUID) -> ReconRun:
    """A comparison that the actor may see; raises NotFound, Forbidden."""
    found = ReconRun.objects.select_related("repeats").filter(pk=run_id).first()
    if not _is_operator(actor, *_READING):
        _require_owner(actor, found)
    if found is None:
        raise NotFound
    return found


def line(actor: Actor, run_id: UUID, line_id: UUID) -> ReconLine:
    """A line of a comparison that the actor may see; raises NotFound, Forbidden."""
    found = ReconLine.objects.filter(pk=line_id, run=run(actor, run_id)).first()
    if found is None:
        raise NotFound
    return found


def lines_page(
    actor: Actor,
    run_id: UUID,
    *,
    line_class: LineClass | None = None,
    status: LineStatus | None = None,
    cursor: str,
    limit: int,
) -> Page[ReconLine]:
    """A comparison's lines in the order of their writing; raises NotFound, Forbidden."""
    lines = ReconLine.objects.filter(run=run(actor, run_id))
    if line_class is not None:
        lines = lines.filter(line_class=line_class)
    if status is not None:
        lines = lines.filter(status=status)
    return paging.page(
        lines,
        order=("id",),
        scope=f"recon_lines:{run_id}:{line_class}:{status}",
        cursor=cursor,
        limit=limit,
    )


def undecided(actor: Actor) -> QuerySet[ReconLine]:
    """The lines of all accounts that wait for a person, oldest first; for operators.

    Raises Forbidden.
    """
    if not _is_operator(actor, *_READING):
        accounting.record(Permission.RECONCILIATION_RUN, "deny")
        raise Forbidden
    lines = ReconLine.objects.filter(status__in=UNDECIDED, is_dry_run=False)
    return lines.select_related("run").order_by("created_at", "pk")


def _is_operator(actor: Actor, *rights: Right) -> bool:
    """Whether a person, and no program, has one of the rights."""
    user = User.objects.filter(pk=actor.user_id).first() if actor.is_session else None
    if user is None or not (user.is_active and user.is_staff):
        return False
    if not any(user.has_perm(f"billing.{right}") for right in rights):
        return False
    accounting.record(Permission.RECONCILIATION_RUN, "allow")
    return True


def _require_owner(actor: Actor, found: Any) -> None:
    """Raises NotFound, Forbidden. The platform's own accounts are its operators' business."""
    access.require_scope(actor, Permission.RECONCILIATION_RUN)
    if found is None:
        accounting.record(Permission.RECONCILIATION_RUN, "deny")
        raise NotFound
    access.authorise(actor, Permission.RECONCILIATION_RUN, found.organization_id)
    if found.billing_mode == BillingMode.PLATFORM:
        accounting.record(Permission.RECONCILIATION_RUN, "deny")
        raise Forbidden
