"""How REST describes itself: each app says in `api/operations.py` what its views take and answer.

    describe(
        views.Workspaces,
        POST=Operation(
            "create_workspace", "Create a workspace.", status=201, answer=answers.Workspace,
            body=serializers.WorkspaceForm, example={"name": "Compiler"}, problems=(QuotaExceeded,),
        ),
    )

The examples are sent by the suite: `tests/house/test_operations.py` holds each of them, and what
comes back, against this description. A route without one fails there too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any

import msgspec
import uritemplate
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

from ideplatform.kit import errors, problems
from ideplatform.kit.guards import ForbiddenText, MalformedJson, TooDeep
from ideplatform.kit.serializers import StrictSerializer

JSON = "application/json"
_COMPONENT = "#/components/schemas/{name}"
_KEY_SCHEMES: tuple[dict[str, list[str]], ...] = ({"bearer": []}, {"apiKey": []})
_SESSION_SCHEMES: tuple[dict[str, list[str]], ...] = ({"bearer": []}, {"cookie": []})


class Pointer(msgspec.Struct):
    """One fault of the input: an RFC 6901 JSON pointer ("" is the whole) and what is wrong."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, kw_only=True):
    """RFC 9457; `type` leads to a page about the code. Some codes add members of their own."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    errors: list[Pointer] | msgspec.UnsetType = msgspec.UNSET
    retry_after_s: int | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or header. `kind` is any type that msgspec knows."""

    name: str
    kind: Any
    description: str
    _: KW_ONLY
    is_required: bool = False
    example: str = ""


Page = (
    Parameter("cursor", str, "`next_cursor` of the page before; absent for the first."),
    Parameter("limit", Annotated[int, msgspec.Meta(ge=1, le=200)], "Rows of the page."),
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a view: what it takes, what it answers and how it fails.

    `media` are types of a raw body, `downloads` types of a raw answer, `also` further statuses
    without a body, `answers` with theirs. `query` is a serializer or a sequence of parameters.
    Faults that every request can meet (no credential, malformed JSON, ...) need no mention in
    `problems`.
    """

    id: str
    summary: str
    _: KW_ONLY
    status: int = 200
    answer: Any = None
    downloads: Sequence[str] = ()
    also: Mapping[int, str] = field(default_factory=dict)
    answers: Mapping[int, Any] = field(default_factory=dict)
    body: type[serializers.Serializer[Any]] | None = None
    example: Mapping[str, object] = field(default_factory=dict)
    media: Sequence[str] = ()
    query: type[serializers.Serializer[Any]] | Sequence[Parameter] = ()
    headers: Sequence[Parameter] = ()
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[type[errors.PlatformError]] = ()
    description: str = ""


def any_value(kind: type) -> dict[str, Any]:
    """msgspec's schema hook: `object` stands for any JSON value."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError


_operations: dict[tuple[type, str], Operation] = {}


def describe(view: type, **methods: Operation) -> None:
    """Say what each method of a view does."""
    for method, operation in methods.items():
        _operations[view, method] = operation


def described(view: type, method: str) -> Operation | None:
    """The description of a view's method."""
    return _operations.get((view, method))


def components() -> dict[str, Any]:
    """The JSON Schemas of every answer and of problems, by name."""
    answers = {op.answer for op in _operations.values() if op.answer is not None}
    answers |= {answer for op in _operations.values() for answer in op.answers.values()}
    types = [Problem, *sorted(answers, key=str)]
    return _schemas(types)[1]


class DescribedSchema(AutoSchema):
    """drf-spectacular's inspector, speaking from the descriptions."""

    @property
    def _operation(self) -> Operation:
        found = described(type(self.view), self.method)
        if found is None:
            name = type(self.view).__qualname__
            raise LookupError(f"{self.method} {name} is not described in its app's operations")
        return found

    @property
    def _is_public(self) -> bool:
        return bool(getattr(self.view, "public", ""))

    def get_operation_id(self) -> str:
        return self._operation.id

    def get_summary(self) -> str:
        return self._operation.summary

    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular has it
        return self._operation.description

    def get_auth(self) -> list[dict[str, list[str]]]:
        if self._is_public:
            return [{}]
        permission = str(getattr(self.view, "permissions", {}).get(self.method, ""))
        sessions_only = getattr(self.view, "session_only", False) or permission == "self"
        schemes = _SESSION_SCHEMES if sessions_only else (*_KEY_SCHEMES, *_SESSION_SCHEMES[1:])
        return [dict(scheme) for scheme in schemes]

    def get_serializer_name(self, serializer: Any, direction: Any) -> str:
        """Two apps may have a form of the same name: then the app's name leads."""
        cls = type(serializer)
        bodies = {op.body for op in _operations.values() if op.body is not None}
        if Counter(body.__name__ for body in bodies)[cls.__name__] < 2:
            return cls.__name__
        return cls.__module__.partition(".")[0].title() + cls.__name__

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, StrictSerializer):
            schema["additionalProperties"] = False
            if type(serializer).__doc__ is None:  # else drf-spectacular shows the base's
                schema.pop("description", None)
        return schema

    def _get_parameters(self) -> list[dict[str, Any]]:
        operation = self._operation
        variables = uritemplate.variables(self.path)
        found: list[dict[str, Any]] = self._resolve_path_parameters(variables)  # type: ignore[no-untyped-call]
        if isinstance(operation.query, type):
            found += self._exploded(operation.query)
        else:
            found += [_parameter(one, "query") for one in operation.query]
        return found + [_parameter(one, "header") for one in operation.headers]

    def _exploded(self, form: type[serializers.Serializer[Any]]) -> list[dict[str, Any]]:
        mapped = self._map_serializer(form(), "request")  # type: ignore[no-untyped-call]
        required = mapped.get("required", ())
        return [
            {"in": "query", "name": name, "schema": schema}
            | ({"required": True} if name in required else {})
            for name, schema in mapped["properties"].items()
        ]

    def _get_request_body(self, direction: Any = "request") -> dict[str, Any] | None:
        operation = self._operation
        content: dict[str, Any] = {
            media: {"schema": {"type": "string", "format": "binary"}} for media in operation.media
        }
        if operation.body is not None:
            component = self.resolve_serializer(operation.body(), direction)
            content[JSON] = {"schema": component.ref, "example": dict(operation.example)}
        return {"content": content, "required": True} if content else None

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        operation = self._operation
        found = {str(operation.status): _success(operation)}
        for status, answer in operation.answers.items():
            found[str(status)] = {
                "description": operation.summary,
                "content": {JSON: {"schema": _schemas([answer])[0][0]}},
            }
        for status, description in operation.also.items():
            found[str(status)] = {"description": description}
        return found | _failures((*self._common(), *operation.problems))

    def _common(self) -> Iterable[type[errors.PlatformError]]:
        """What every request of this shape can meet."""
        operation = self._operation
        yield from (errors.NotAcceptable, errors.TooManyRequests, errors.DatabaseDown)
        yield errors.MalformedRequest
        if not self._is_public:
            yield from (errors.Unauthenticated, errors.Forbidden)
        takes_input = bool(operation.body or operation.query)
        if "{" in self.path or (takes_input and not self._is_public):  # ids may be anywhere
            yield errors.NotFound
        if takes_input:
            yield errors.InvalidInput
        if operation.body:
            yield from (ForbiddenText, TooDeep, MalformedJson, errors.UnsupportedMedia)
        if operation.body or operation.media:
            yield errors.TooLarge


def _parameter(one: Parameter, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "in": place,
        "name": one.name,
        "schema": _inlined(one.kind),
        "description": one.description,
    }
    if one.is_required:
        found["required"] = True
    if one.example:
        found["example"] = one.example
    return found


def _schemas(types: Iterable[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """Each type's schema, and those that they name."""
    return msgspec.json.schema_components(types, schema_hook=any_value, ref_template=_COMPONENT)


def _inlined(kind: Any) -> dict[str, Any]:
    """A parameter's schema; enums are spelt out where they are used."""
    (schema,), parts = _schemas([kind])
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: dict[str, Any] = parts[name] if name else schema
    return {key: value for key, value in found.items() if key not in {"title", "description"}}


def _success(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {
        media: {"schema": {"type": "string", "format": "binary"}} for media in operation.downloads
    }
    if operation.answer is not None:
        content[JSON] = {"schema": _schemas([operation.answer])[0][0]}
    found: dict[str, Any] = {"description": operation.summary}
    if operation.answer_headers:
        found["headers"] = {
            name: {"schema": {"type": "string"}, "description": description}
            for name, description in operation.answer_headers.items()
        }
    return found | ({"content": content} if content else {})


def _failures(known: Iterable[type[errors.PlatformError]]) -> dict[str, Any]:
    """One response per status; its description lists the codes."""
    by_status: dict[int, dict[str, str]] = {}
    for error in known:
        by_status.setdefault(error.status, {})[error.code] = error.title
    schema = {"$ref": _COMPONENT.format(name=Problem.__name__)}
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {title}" for code, title in codes.items()),
            "content": {problems.CONTENT_TYPE: {"schema": schema}},
        }
        for status, codes in sorted(by_status.items())
    }


def share_refusals(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Refer to each refusal instead of repeating it; answers them by name."""
    named: dict[str, Any] = {}
    names: dict[tuple[str, str], str] = {}
    for operation in (one for methods in paths.values() for one in methods.values()):
        refusals = operation["responses"]
        for status in [status for status in refusals if status >= "4"]:
            key = (status, refusals[status]["description"])
            if key not in names:
                number = sum(known == status for known, _ in names)
                names[key] = f"Refusal{status}" + (f"_{number}" if number else "")
                named[names[key]] = refusals[status]
            refusals[status] = {"$ref": f"#/components/responses/{names[key]}"}
    return dict(sorted(named.items()))
