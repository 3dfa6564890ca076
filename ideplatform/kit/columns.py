"""Columns whose values come from an enum: the choices people see, the constraint that holds."""

from __future__ import annotations

from enum import StrEnum

from django.db.models import CheckConstraint, Q


def choices(values: type[StrEnum]) -> list[tuple[str, str]]:
    """Django's `choices` of an enum."""
    return [(value.value, value.name.replace("_", " ").capitalize()) for value in values]


def one_of(column: str, values: type[StrEnum], name: str) -> CheckConstraint:
    """The database's guard: the column holds one of the enum's values."""
    return CheckConstraint(condition=Q(**{f"{column}__in": [v.value for v in values]}), name=name)
