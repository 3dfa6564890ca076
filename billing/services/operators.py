"""Operators of money: which rights there are, which groups have them, who is let in.

A right is one of Django's permissions, so that people get it by a group, in the console. Superusers
have every right; what takes two persons takes two of them as well.
"""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import Group
from django.contrib.auth.models import Permission as DjangoPermission
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from accounts.models import User
from accounts.types import Actor, Permission
from billing.types import Right
from ideplatform.kit import accounting
from ideplatform.kit.errors import Forbidden

APP: Final = "billing"
_LOOK: Final = frozenset({Right.VIEW, Right.REPORTS})
_SUPPORT: Final = _LOOK | {Right.ADJUST, Right.PROMO, Right.REFUND, Right.PARK, Right.REPLAY}

GROUPS: Final = {
    "billing_viewer": _LOOK,
    "billing_support": _SUPPORT,
    "billing_manager": _SUPPORT
    | {Right.LIMIT, Right.VERIFY, Right.APPROVE, Right.AUDIT, Right.RECONCILE, Right.REVIEW},
    "price_publisher": _LOOK | {Right.DRAFT_PRICES, Right.APPROVE_PRICES},
    "recon_analyst": _LOOK | {Right.RECONCILE, Right.REVIEW},
    "auditor": _LOOK | {Right.AUDIT, Right.VERIFY},
}
"""What each group may do. Nobody may delete, add or change a row of money by hand."""


def authorise(actor: Actor, right: Right) -> User:
    """The operator, when they have the right. Raises Forbidden, also for every API key."""
    user = _with(actor, right)
    accounting.record(Permission.BILLING_OPERATE, "deny" if user is None else "allow")
    if user is None:
        raise Forbidden
    return user


def may(actor: Actor, right: Right) -> bool:
    """The same as an answer, for what is only shown; nothing is reported."""
    return _with(actor, right) is not None


def _with(actor: Actor, right: Right) -> User | None:
    """The person, in one query, when they have the right; None for every program."""
    if not actor.is_session:
        return None
    granted = DjangoPermission.objects.filter(content_type__app_label=APP, codename=right.value)
    holds = (
        Q(is_superuser=True)
        | Exists(granted.filter(user=OuterRef("pk")))
        | Exists(granted.filter(group__user=OuterRef("pk")))
    )
    return User.objects.filter(holds, pk=actor.user_id, is_active=True, is_staff=True).first()


def has(user: User, right: Right) -> bool:
    """Whether a person has the right, as their own request remembers it."""
    return user.is_active and user.is_staff and user.has_perm(f"{APP}.{right}")


@transaction.atomic
def ensure_groups() -> None:
    """Bring the groups to exactly their rights; others' own groups are left alone."""
    known = {
        row.codename: row
        for row in DjangoPermission.objects.filter(
            content_type__app_label=APP, codename__in=[right.value for right in Right]
        )
    }
    for name, rights in GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set([known[right.value] for right in rights])


def on_migrated(**_: Any) -> None:
    """Connected to `post_migrate`: by then every permission has its row."""
    ensure_groups()
