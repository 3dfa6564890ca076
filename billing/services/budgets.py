"""Budgets: who may set them, and what a valid one is. What they refuse is decided by holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import ApiKey, OrganizationMembership
from accounts.services import access, audit
from accounts.types import Actor, OrganizationKind, Permission
from billing import windows
from billing.errors import BudgetInherited, TooManyBudgets
from billing.models import Budget, ProviderCard
from billing.services import customers
from billing.types import BudgetScope, OnHard, PeriodKind
from ideplatform.kit import ids
from ideplatform.kit.errors import InvalidInput, NotFound, Pointer
from workspaces.models import Workspace

EACH: Final = "*"
MOST: Final = 100
STEPS: Final = (50, 80, 100)
MOST_STEPS: Final = 10
LARGEST_STEP: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What of a budget may change. Amounts in USD; `degrade_to` is a model for `degrade`.

    With `inherit_from`, another budget of the organization, `hard` and `soft` are that one's.
    """

    name: str = ""
    hard: Decimal | None = None
    soft: Decimal | None = None
    alert_steps: Sequence[int] = STEPS
    on_hard: OnHard = OnHard.BLOCK
    degrade_to: str = ""
    inherit_from: UUID | None = None
    counts_byok: bool = False
    is_enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a budget limits, for ever: `scope_id` `*` is each one of the scope by itself."""

    scope: BudgetScope
    scope_id: str = ""
    period: PeriodKind = PeriodKind.MONTH
    tz: str = "UTC"


@transaction.atomic
def create(*, actor: Actor, organization_id: UUID, subject: Subject, limits: Limits) -> Budget:
    """Set a budget; it counts from the next call on.

    Raises NotFound for ids that are not the organization's, InvalidInput, TooManyBudgets.
    """
    access.authorise(actor, Permission.BILLING_MANAGE, organization_id)
    _check_subject(organization_id, subject)
    _check(_with_inherited(organization_id, limits))
    customers.ensure([organization_id])
    if Budget.objects.filter(customer=organization_id, deleted_at__isnull=True).count() >= MOST:
        raise TooManyBudgets
    budget = Budget.objects.create(
        customer_id=organization_id,
        created_by_id=actor.user_id,
        **asdict(subject),
        **_columns(limits),
    )
    budget.refresh_from_db()  # the limits that it inherits
    _note("budget.created", actor, budget)
    return budget


@transaction.atomic
def update(*, actor: Actor, budget_id: UUID, changes: dict[str, object]) -> Budget:
    """Change some of a budget's limits, and those of its heirs; what was spent stays.

    Raises NotFound, InvalidInput.
    """
    budget = of(actor, budget_id, Permission.BILLING_MANAGE)
    limits = _limits_of(budget, changes)
    _check(_with_inherited(budget.customer_id, limits, budget))
    for name, value in _columns(limits).items():
        setattr(budget, name, value)
    budget.save()
    budget.refresh_from_db()
    _note("budget.updated", actor, budget)
    return budget


@transaction.atomic
def delete(*, actor: Actor, budget_id: UUID) -> None:
    """End a budget; what its periods have spent is kept. Raises NotFound, BudgetInherited."""
    budget = of(actor, budget_id, Permission.BILLING_MANAGE)
    if budget.heirs.filter(deleted_at__isnull=True).exists():
        raise BudgetInherited
    Budget.objects.filter(pk=budget.pk).update(deleted_at=Now(), is_enabled=False)
    _note("budget.deleted", actor, budget)


def of(actor: Actor, budget_id: UUID, permission: Permission) -> Budget:
    """A budget in which the actor has the permission, locked inside a transaction."""
    access.require_scope(actor, permission)
    rows = Budget.objects.filter(pk=budget_id, deleted_at__isnull=True)
    if connection.in_atomic_block:
        rows = rows.select_for_update(no_key=True)
    budget = rows.first()
    if budget is None:
        raise NotFound
    access.authorise(actor, permission, budget.customer_id)
    return budget


def _columns(limits: Limits) -> dict[str, object]:
    columns = asdict(limits) | {"alert_steps": sorted(set(limits.alert_steps))}
    return columns | {"inherit_from_id": columns.pop("inherit_from")}


def _limits_of(budget: Budget, changes: dict[str, object]) -> Limits:
    """The limits after some changes; inherited amounts are the other budget's to change."""
    before = {name: getattr(budget, name) for name in Limits.__dataclass_fields__}
    before["inherit_from"] = budget.inherit_from_id
    if budget.inherit_from_id is not None:
        before |= {"hard": None, "soft": None}
    return Limits(**(before | changes))


def _with_inherited(organization_id: UUID, limits: Limits, budget: Budget | None = None) -> Limits:
    """The limits that will count. Raises NotFound for a budget that is not the organization's."""
    if limits.inherit_from is None:
        return limits
    if limits.hard is not None or limits.soft is not None:
        name = "hard" if limits.hard is not None else "soft"
        raise _wrong(f"/{name}", "the other budget's, as long as inherit_from names one")
    others = Budget.objects.filter(customer=organization_id, deleted_at__isnull=True)
    giver = others.filter(pk=limits.inherit_from).first()
    if giver is None:
        raise NotFound
    has_heirs = budget is not None and budget.heirs.filter(deleted_at__isnull=True).exists()
    if giver.inherit_from_id is not None or giver == budget or has_heirs:
        raise _wrong("/inherit_from", "name a budget with limits of its own, and of no heir")
    return replace(limits, hard=giver.hard, soft=giver.soft)


def _check(limits: Limits) -> None:
    if limits.hard is None and limits.soft is None:
        raise _wrong("/hard", "give a hard or a soft limit")
    if limits.hard is not None and limits.soft is not None and limits.soft > limits.hard:
        raise _wrong("/soft", "at most the hard limit")
    if (limits.on_hard is OnHard.DEGRADE) != bool(limits.degrade_to):
        raise _wrong("/degrade_to", "name a model where on_hard is degrade, and only there")
    if limits.on_hard is OnHard.APPROVE and limits.hard is None:
        raise _wrong("/on_hard", "only a hard limit can be approved beyond")
    steps = limits.alert_steps
    if len(set(steps)) > MOST_STEPS or not all(1 <= step <= LARGEST_STEP for step in steps):
        raise _wrong("/alert_steps", f"at most {MOST_STEPS} percentages from 1 to {LARGEST_STEP}")


def _check_subject(organization_id: UUID, subject: Subject) -> None:
    windows.zone_of(subject.tz)
    with connection.cursor() as cursor:  # the database reads the calendar, by its own list of zones
        cursor.execute("SELECT 1 FROM pg_timezone_names WHERE name = %s", [subject.tz])
        if cursor.fetchone() is None:
            raise _wrong("/tz", "the name of an IANA time zone, such as Europe/Lisbon")
    if (subject.scope is BudgetScope.CUSTOMER) != (subject.scope_id == ""):
        raise _wrong("/scope_id", "name what is limited; the whole organization has no id")
    if subject.scope_id not in ("", EACH) and subject.scope in _HOMES:
        _check_home(organization_id, subject)


def _check_home(organization_id: UUID, subject: Subject) -> None:
    """A foreign id is not found, as one that does not exist."""
    found = ids.parse(subject.scope_id)
    if not _HOMES[subject.scope](organization_id, found):
        raise NotFound


def _has_workspace(organization_id: UUID, found: UUID) -> bool:
    return Workspace.objects.filter(organization_id=organization_id, pk=found).exists()


def _has_member(organization_id: UUID, found: UUID) -> bool:
    members = OrganizationMembership.objects.filter(organization_id=organization_id)
    return members.filter(user_id=found).exists()


def _has_key(organization_id: UUID, found: UUID) -> bool:
    people = OrganizationMembership.objects.filter(organization_id=organization_id)
    keys = ApiKey.objects.filter(pk=found, user_id__in=people.values("user_id"))
    return keys.exists()


def _has_provider(organization_id: UUID, found: UUID) -> bool:
    ours = Q(organization_id=organization_id) | Q(organization__kind=OrganizationKind.PLATFORM)
    return ProviderCard.objects.filter(ours, provider_id=found).exists()


_HOMES: Final = {
    BudgetScope.WORKSPACE: _has_workspace,
    BudgetScope.USER: _has_member,
    BudgetScope.API_KEY: _has_key,
    BudgetScope.PROVIDER: _has_provider,
}


def _note(action: str, actor: Actor, budget: Budget) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=budget.customer_id,
        target=budget.pk,
        details={"kind": budget.scope, "name": budget.name},
    )


def _wrong(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer=pointer, detail=detail)])
