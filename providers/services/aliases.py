"""The names that people call: who may set them, and the ones that come with the platform."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from accounts.services import audit
from accounts.types import Actor
from ideplatform.kit.errors import InvalidInput, NotFound, Pointer
from providers.models import AliasTarget, ModelAlias
from providers.services import changes
from providers.services.access import Home
from providers.types import ProviderScope

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}")
MAX_NAME: Final = 100
MAX_TARGETS: Final = 20
RESERVED: Final = "agent/"  # agents answer to these names

DEFAULTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "default/code": (
        "Writing and changing code",
        ("claude-sonnet-5", "gpt-5.5", "gemini-3.1-pro-preview", "sim-coder"),
    ),
    "default/universal": (
        "General questions",
        ("claude-sonnet-5", "gpt-5.5", "gemini-3.5-flash", "sim-echo"),
    ),
    "default/code-completion": (
        "Completing the line being written",
        ("claude-haiku-4-5", "gpt-5.4-mini", "gemini-3.5-flash-lite", "sim-echo"),
    ),
    "default/summarize": (
        "Short summaries",
        ("claude-haiku-4-5", "gpt-5.4-mini", "gemini-3.5-flash-lite", "sim-echo"),
    ),
    "default/fast": (
        "Quick decisions",
        ("claude-haiku-4-5", "gpt-5.4-nano", "gemini-3.1-flash-lite", "sim-echo"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an alias says; `selected_model` empty lets the first ready target win."""

    targets: Sequence[str]
    description: str = ""
    selected_model: str = ""


@transaction.atomic
def put(*, actor: Actor, name: str, home: Home, content: Content) -> ModelAlias:
    """Set an alias of a scope that the actor may manage, as a whole.

    `home` comes from `access.manage_scope`. Raises InvalidInput.
    """
    _check(name, content)
    alias = write(name=name, home=home, content=content, owner_id=actor.user_id)
    audit.record(
        action="alias.set",
        actor=actor,
        organization_id=home.organization_id,
        workspace_id=home.workspace_id,
        target=name,
    )
    return alias


@transaction.atomic
def remove(*, actor: Actor, name: str, home: Home) -> None:
    """Forget an alias of a scope that the actor may manage; the next scope's answers again.

    `home` comes from `access.manage_scope`. Raises NotFound.
    """
    rows = ModelAlias.objects.filter(name=name, scope=home.scope)
    if home.organization_id is not None:
        rows = rows.filter(organization_id=home.organization_id)
    if home.workspace_id is not None:
        rows = rows.filter(workspace_id=home.workspace_id)
    if home.scope is ProviderScope.USER:
        rows = rows.filter(owner_id=actor.user_id)
    alias = rows.first()
    if alias is None:
        raise NotFound
    alias.delete()
    changes.of_home(alias)
    audit.record(
        action="alias.removed",
        actor=actor,
        organization_id=home.organization_id,
        workspace_id=home.workspace_id,
        target=name,
    )


@transaction.atomic
def ensure_defaults() -> int:
    """Create the platform's aliases that are missing; how many were. Changed ones stay."""
    held = set(
        ModelAlias.objects.filter(scope=ProviderScope.PLATFORM).values_list("name", flat=True)
    )
    missing = [name for name in DEFAULTS if name not in held]
    for name in missing:
        description, targets = DEFAULTS[name]
        content = Content(targets=targets, description=description)
        write(name=name, home=Home(scope=ProviderScope.PLATFORM), content=content, owner_id=None)
    return len(missing)


def write(*, name: str, home: Home, content: Content, owner_id: UUID | None) -> ModelAlias:
    """Create or replace the alias of a name in a scope, without asking who may."""
    is_personal = home.scope is ProviderScope.USER
    ids: dict[str, Any] = {
        "organization_id": home.organization_id,
        "workspace_id": home.workspace_id,
        "owner_id": owner_id if is_personal else None,
    }
    values = {"description": content.description, "selected_model": content.selected_model}
    alias, _ = ModelAlias.objects.update_or_create(
        name=name, scope=home.scope, **ids, defaults=values
    )
    alias.targets.all().delete()
    AliasTarget.objects.bulk_create(
        AliasTarget(alias=alias, position=position, model_ref=ref)
        for position, ref in enumerate(content.targets)
    )
    changes.of_home(alias)
    return alias


def _check(name: str, content: Content) -> None:
    faults = []
    if len(name) > MAX_NAME or not NAME.fullmatch(name) or name.startswith(RESERVED):
        faults.append(Pointer(pointer="", detail="not a name that an alias may have"))
    if len(content.targets) > MAX_TARGETS or len(set(content.targets)) != len(content.targets):
        detail = f"at most {MAX_TARGETS} different models"
        faults.append(Pointer(pointer="/targets", detail=detail))
    if name in (*content.targets, content.selected_model):
        faults.append(Pointer(pointer="/targets", detail="an alias does not lead to itself"))
    if not content.targets and not content.selected_model:
        faults.append(Pointer(pointer="/targets", detail="name at least one model"))
    if faults:
        raise InvalidInput(errors=faults)
