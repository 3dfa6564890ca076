"""Strict input of REST: what is not asked for is refused, with a pointer to it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils.serializer_helpers import BindingDict

from ideplatform.kit import crypto
from ideplatform.kit.errors import InvalidInput, Pointer

_UNKNOWN = "This field is not known here."
_NO_ID = "An id is a text."


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses unknown fields: a misspelt one must not be ignored in silence.

    Ids are texts; DRF would also take a number, or `true`, for one.
    """

    @functools.cached_property
    def fields(self) -> BindingDict:
        found = super().fields
        for one in found.values():
            _quote_nothing(one)
        return found

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            faults = {str(name): [_UNKNOWN] for name in data.keys() - self.fields.keys()}
            faults |= {name: [_NO_ID] for name in data if self._is_no_id(name, data[name])}
            if faults:
                raise serializers.ValidationError(dict(sorted(faults.items())))
        return super().to_internal_value(data)

    def _is_no_id(self, name: str, value: object) -> bool:
        is_id = isinstance(self.fields.get(name), serializers.UUIDField)
        return is_id and not isinstance(value, str | None)


class PersonForm(StrictSerializer):
    """Names a person by id or by e-mail address."""

    user_id = serializers.UUIDField(required=False)
    email = serializers.EmailField(max_length=255, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("user_id" in attrs) == ("email" in attrs):
            raise serializers.ValidationError("Give either user_id or email.")
        return attrs


def _quote_nothing(field: serializers.Field[Any, Any, Any, Any]) -> None:
    """DRF repeats a wrong choice in its answer; it may be a key in the wrong place."""
    child = getattr(field, "child", None)
    if child is not None:
        _quote_nothing(child)
    if isinstance(field, serializers.ChoiceField):
        choices = ", ".join(str(choice) for choice in field.choices)
        field.error_messages["invalid_choice"] = f"One of {choices}."


class SecretField(serializers.CharField):
    """A password or key: kept as it was typed, handed on as a `Secret`, never rendered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, write_only=True, **options)

    def run_validation(self, data: Any = serializers.empty) -> crypto.Secret:
        return crypto.Secret(super().run_validation(data))


def read(form: type[serializers.Serializer[Any]], request: Request, **options: Any) -> Any:
    """The validated body of a request; raises InvalidInput with pointers (as a 422)."""
    reader = form(data=request.data, **options)
    reader.is_valid(raise_exception=True)
    return reader.validated_data


def wrong(pointer: str, detail: str) -> InvalidInput:
    """One field is not acceptable."""
    return InvalidInput(errors=[Pointer(pointer=pointer, detail=detail)])
