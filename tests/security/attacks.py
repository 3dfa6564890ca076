"""Hostile requests, and the verdict on what comes back.

A refusal is a 4xx problem object with a known code, pointers where single members are wrong, and
no word about our insides; and no row of any table is different afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from ideplatform import pages
from ideplatform.kit import problems, redis
from tests.house import matrix
from tests.inprocess import Answer
from tests.operations import JSON, Documented, Request, Stage, document

MIB = 1024 * 1024
SLOW = frozenset({"test_provider", "test_unsaved_provider", "refresh_provider_models"})
"""Operations that call out when their input is right: only what is wrong is sent to them."""

_INSIDES = (b"Traceback", b'File "', b"psycopg", b"django", b"rest_framework", b"Exception")
_MEMBERS = {"type", "title", "status", "code", "detail", "retryable"}

BODIES: Mapping[str, bytes] = {
    "deep arrays": b"[" * 100_000,
    "deep closed arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 33 + b"1" + b"}" * 33,
    "giant": b'{"x":"' + b"a" * (5 * MIB) + b'"}',
    "NUL escaped": b'{"name":"a\\u0000b"}',
    "NUL raw": b'{"name":"a\x00b"}',
    "lone surrogate": b'{"name":"\\ud800"}',
    "NaN": b'{"name":NaN}',
    "Infinity": b'{"name":-Infinity}',
    "giant integer": b'{"name":' + b"9" * 5_000 + b"}",
    "integer over 64 bits": b'{"name":9223372036854775808}',
    "giant exponent": b'{"name":1e999999}',
    "not UTF-8": b'{"name":"\xff\xfe"}',
    "UTF-16": '{"name":"a"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"name":"a"}',
    "two documents": b'{"name":"a"}{"name":"b"}',
    "trailing comma": b'{"name":"a",}',
    "single quotes": b"{'name':'a'}",
    "comment": b'{"name":"a"/* */}',
    "cut off": b'{"name":"a',
    "an array": b"[]",
    "a string": b'"name"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "many containers": b"[" + b"[]," * 300_000 + b"[]]",
    "form data": b"name=a&email=b",
}
_UUID: tuple[Any, ...] = ({}, [], True, "x", "0" * 5_000, "0199c2a4", 1.5, -1, "{}")
_MOMENT: tuple[Any, ...] = (
    {}, [], True, 0, "x", "2026-02-30T00:00:00Z", "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-11-22T00:00:00+99:99",
)  # fmt: skip
_WRONG: Mapping[str, tuple[Any, ...]] = {
    "string": ({}, [], True, ["a"], {"a": "b"}, "a\0b"),
    "integer": ({}, [], "x", 1.5, 1e308, "9" * 400, -(2**63), "\u0661\u0662x", "0x10"),
    "boolean": ({}, [], "maybe", 7, -1),
    "array": ({}, "x", 7, True),
    "object": ([], "x", 7, True),
}
ODD_STRINGS = (
    "", " ", "\u202e", "\ud7ff\U0010ffff", "../../etc/passwd", "..\\..\\x", "a" * 100_000,
    "' OR 1=1 --", "{{7*7}}", "${jndi:ldap://x}", "%00", "\x1b[2J", "\r\nSet-Cookie: a=b",
    "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "e\u0301", "\ufeff", "-1", "NaN",
)  # fmt: skip
ODD_NUMBERS = ("-1", "0", "1000000000", "1.5", "abc", "", " 1", "1e3", "٣", "9" * 400, "0x10", "%s")


def attempt(request: Request) -> Answer:
    """Send it in a savepoint that stays; a rate limit is lifted, it would hide the answer."""
    with transaction.atomic():
        answer = request.send()
    if answer.status == 429:
        redis.client("cache").flushdb()
        with transaction.atomic():
            answer = request.send()
    return answer


def faults_of_refusal(answer: Answer, *, pointer: str | None = None) -> list[str]:
    """What is wrong with a refusal; `pointer` must begin one of its errors' places."""
    if not 400 <= answer.status < 500:
        return [f"{answer.status} {answer.body[:300]!r}"]
    if answer.media != problems.CONTENT_TYPE:
        return [f"{answer.status} is {answer.media!r}"]
    problem = answer.json()
    faults = [f"no {name}" for name in _MEMBERS - problem.keys()]
    if problem.get("code") not in pages.known():
        faults.append(f"unknown code {problem.get('code')!r}")
    if problem.get("type") != problems.TYPE_PREFIX + str(problem.get("code")):
        faults.append(f"type {problem.get('type')!r}")
    if problem.get("status") != answer.status:
        faults.append(f"status {problem.get('status')} in {answer.status}")
    if answer.status == 422:
        faults += _faults_of_pointers(problem.get("errors", []), pointer)
    elif pointer is not None:
        faults.append(f"{answer.status} {problem.get('code')}, expected a 422 at {pointer}")
    return faults + leaks(answer)


def faults_of_any(answer: Answer) -> list[str]:
    """What is wrong with an answer to something odd that may be right: a 5xx, an untyped 4xx."""
    if answer.status >= 400:
        return faults_of_refusal(answer)
    return leaks(answer)


def leaks(answer: Answer) -> list[str]:
    """Words about our insides."""
    if answer.status < 400:
        return []
    return [f"says {word!r}" for word in _INSIDES if word in answer.body]


def _faults_of_pointers(errors: list[dict[str, str]], pointer: str | None) -> list[str]:
    if not errors:
        return ["422 without pointers"]
    places = [error["pointer"] for error in errors]
    faults = [f"no pointer: {place!r}" for place in places if place and place[0] != "/"]
    if pointer is not None and not any(place.startswith(pointer) for place in places):
        faults.append(f"points at {places}, not {pointer}")
    return faults


@contextmanager
def nothing_changes() -> Iterator[None]:
    """The block leaves every table as it was (marks of use and the audit log aside)."""
    before = matrix.digest()
    yield
    after = matrix.digest()
    changed = [table for table in after if after[table] != before[table]]
    assert changed == [], f"refused, but changed {changed}"


def json_operations(operations: tuple[Documented, ...]) -> list[Documented]:
    return [one for one in operations if one.takes_json]


def form_of(one: Documented) -> dict[str, Any]:
    """The schema of the JSON body, references followed."""
    return _followed(one.content[JSON]["schema"])


def odd_strings(one: Documented) -> tuple[str, ...]:
    """Fewer where each one costs a password hash."""
    hashes = any(member.get("writeOnly") for member in form_of(one)["properties"].values())
    return ODD_STRINGS[::6] if hashes else ODD_STRINGS


def wrong_values(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Values that a member of this schema must refuse."""
    schema = _followed(schema)
    kinds = _types(schema)
    if "null" not in kinds and None not in schema.get("enum", ()):
        yield None
    if "enum" in schema:
        yield from ("surprise", {}, [], 7)
    elif schema.get("format") in {"uuid", "date-time"}:
        yield from _UUID if schema["format"] == "uuid" else _MOMENT
    else:
        (kind,) = set(kinds) - {"null"}
        yield from _WRONG[kind]
        yield from _wrong_inside(schema)


def _wrong_inside(schema: Mapping[str, Any]) -> Iterator[Any]:
    if "maxLength" in schema:
        yield "x" * (schema["maxLength"] + 1)
    if "items" in schema:
        yield from ([wrong] for wrong in wrong_values(schema["items"]))
    for name, member in schema.get("properties", {}).items():
        yield from ({name: wrong} for wrong in wrong_values(member))


def with_member(stage: Stage, one: Documented, name: str, value: Any) -> Request:
    """The example with one member replaced."""
    return stage.request(one).with_json(stage.example(one) | {name: value})


def _followed(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(schema)
    for part in schema.get("allOf", ()):
        found |= _followed(part)
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found |= document()["components"]["schemas"][name]
    for key in ("oneOf", "anyOf"):
        options = [_followed(part) for part in schema.get(key, ())]
        enum = [value for option in options for value in option.get("enum", ())]
        if enum:
            found["enum"] = enum
        elif options:
            types = [kind for option in options for kind in _types(option)]
            found |= options[0] | {"type": types}
    return found


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    return [kinds] if isinstance(kinds, str) else list(kinds)


def shown(value: object) -> str:
    """A value for a message, at most a line of it."""
    return json.dumps(value, default=repr)[:80]
