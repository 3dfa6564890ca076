"""The OpenAPI document tells the truth: every example works, every answer has its schema."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests import operations
from tests.house import entries
from tests.inprocess import Answer
from tests.operations import Documented

EVERY = operations.every()
STREAMED = ("download_file", "export_files", "download_usage_export")
SIGNED = ("receive_stripe_event",)
"""Only Stripe can make a request that is accepted; `tests/billing/stripe` holds what it does."""
CONFORMING = "urn:document"
FURTHER = [
    ("summarise_usage", {"group_by": "model,day", "compare": "previous"}),
    ("summarise_usage", {"group_by": "workspace,hour", "period": "day:2026-11-20"}),
    ("list_usage", {"model": "sim-echo", "outcome": "ok", "min_cost": "0"}),
    ("list_files", {"depth": "3"}),
]


def test_every_route_of_the_api_is_in_the_document():
    documented = {f"{one.method} {one.path.lstrip('/')}" for one in EVERY}
    routes = {
        entry.replace("<uuid:", "{").replace("<str:", "{").replace("<path:", "{").replace(">", "}")
        for entry in entries.routes()
        if " api/" in entry
    }
    assert documented == routes


def test_operations_have_names_of_their_own():
    assert len({one.id for one in EVERY}) == len(EVERY)


@pytest.mark.django_db
@pytest.mark.parametrize("one", [o for o in EVERY if o.id not in STREAMED + SIGNED], ids=str)
def test_the_documented_example_works_and_is_answered_as_documented(
    one: Documented, simulator, stripe
):
    _as_documented(one, operations.stage().request(one).send())


@pytest.mark.parametrize("one", [o for o in EVERY if o.id in STREAMED], ids=str)
def test_what_is_streamed_is_answered_as_documented(one: Documented, committed_db):
    """Read piece by piece on other connections, which see only what is committed."""
    _as_documented(one, operations.stage().request(one).send())


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "query"), FURTHER)
def test_richer_questions_are_answered_as_documented(name: str, query: dict[str, str]):
    (one,) = (found for found in EVERY if found.id == name)
    _as_documented(one, operations.stage().request(one).with_(query=query).send())


def _as_documented(one: Documented, answer: Answer) -> None:
    assert answer.status in one.success, answer.body
    told = one.success[answer.status]
    assert {name.lower() for name in told.get("headers", {})} <= answer.headers.keys()
    content = told.get("content", {})
    assert not content or answer.media in content
    schema = content.get("application/json", {}).get("schema")
    if schema is not None and answer.media == "application/json":
        assert _faults(schema, answer.json()) == []


def _faults(schema: dict[str, Any], body: Any) -> list[str]:
    resource = DRAFT202012.create_resource(_closed(operations.document()))
    validator = Draft202012Validator(
        _absolute(_closed(schema)),
        registry=Registry().with_resource(CONFORMING, resource),
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]


def _closed(schema: Any) -> Any:
    """The schema with no room for members that it does not name."""
    if isinstance(schema, dict):
        found = {key: _closed(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            found.setdefault("additionalProperties", False)
        return found
    return [_closed(item) for item in schema] if isinstance(schema, list) else schema


def _absolute(schema: Any) -> Any:
    """References to the document's components, from outside of it."""
    if isinstance(schema, dict):
        return {
            key: CONFORMING + value if key == "$ref" else _absolute(value)
            for key, value in schema.items()
        }
    return [_absolute(item) for item in schema] if isinstance(schema, list) else schema
