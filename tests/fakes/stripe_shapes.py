"""Stripe's request shapes: which operation a request is, and whether it is a valid one."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

DATA = (
    Path(__file__).resolve().parents[2] / "billing" / "data" / "stripe_requests_and_fixtures.json"
)
_BASE = "urn:stripe"
_PART = re.compile(r"\[([^\[\]]*)\]")


@functools.cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DATA.read_text())
    return found


def fixture(kind: str, **values: object) -> dict[str, Any]:
    """A canned resource of Stripe's, with some values of ours."""
    found: dict[str, Any] = json.loads(json.dumps(document()["x-fixtures"][kind]))
    return found | values


def version() -> str:
    return str(document()["info"]["version"])


def operation(method: str, path: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The path's template, its parameters and the operation; raises LookupError."""
    for template, methods in document()["paths"].items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        match = re.fullmatch(pattern, path)
        if match and method.lower() in methods:
            return template, match.groupdict(), methods[method.lower()]
    raise LookupError(f"{method} {path} is no known operation")


def parameters(operation: Mapping[str, Any], encoded: str) -> tuple[dict[str, Any], list[str]]:
    """The typed parameters of a form or query, and what is wrong with them."""
    schema = _schema(operation)
    given = _typed(schema, _nested(encoded))
    validator = Draft202012Validator(schema, registry=_registry())
    return given, [f"{one.json_path}: {one.message}" for one in validator.iter_errors(given)]


def _schema(operation: Mapping[str, Any]) -> dict[str, Any]:
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]
        return _absolute(content["schema"])  # type: ignore[no-any-return]
    listed = operation.get("parameters", [])
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {one["name"]: _absolute(one["schema"]) for one in listed},
    }


@functools.cache
def _registry() -> Any:
    return Registry().with_resource(_BASE, DRAFT202012.create_resource(_absolute(document())))


def _absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _BASE + v if k == "$ref" else _absolute(v) for k, v in value.items()}
    return [_absolute(one) for one in value] if isinstance(value, list) else value


def _nested(encoded: str) -> dict[str, Any]:
    """`a[b][0]=c` as {"a": {"b": {"0": "c"}}}."""
    found: dict[str, Any] = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True, strict_parsing=bool(encoded)):
        head = key.partition("[")[0]
        *path, last = [head, *_PART.findall(key)]
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def _typed(schema: Mapping[str, Any], value: Any) -> Any:
    """A form has only strings: the schema says what they stand for."""
    schema = _resolved(schema)
    if "anyOf" in schema:
        readings = [(one, _typed(one, value)) for one in schema["anyOf"]]
        fitting = [read for one, read in readings if _fits(one, read)]
        return fitting[0] if fitting else value
    kind = schema.get("type")
    if kind == "object" and isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        rest = more if isinstance(more, dict) else {}
        return {name: _typed(known.get(name, rest), one) for name, one in value.items()}
    if kind == "array" and isinstance(value, dict):
        return [_typed(schema.get("items", {}), one) for one in value.values()]
    if kind == "integer" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    return bool(Draft202012Validator(schema, registry=_registry()).is_valid(value))


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = str(schema.get("$ref", ""))
    if not reference:
        return schema
    name = reference.rpartition("/")[2]
    found: Mapping[str, Any] = _absolute(document()["components"]["schemas"][name])
    return found
