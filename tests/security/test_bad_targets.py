"""Absurd paths, queries and methods at every operation: a typed problem, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from ideplatform.kit import ids
from tests import inprocess, operations, shares
from tests.operations import Documented, Request, Stage
from tests.security import attacks
from tests.security.attacks import ODD_NUMBERS, faults_of_any, faults_of_refusal

pytestmark = pytest.mark.django_db
EVERY = operations.every()
WITH_IDS = [one for one in EVERY if one.names]
ASKING = [one for one in EVERY if one.parameters("query") and one.id not in attacks.SLOW]
PAGED = [one for one in EVERY if {"cursor"} <= {p["name"] for p in one.parameters("query")}]
PATHS = sorted({one.path for one in EVERY})
STREAMED = {"download_file", "export_files"}
"""These read on other connections, which see committed rows only (see `test_bad_wire`)."""
BAD_IDS = (
    "x",
    "0",
    "-1",
    "null",
    "undefined",
    "00000000-0000-0000-0000-000000000000",
    "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6",
    "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6ff",
    "{0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f}",
    "0199c2a47b1e7c3d9f002a1b3c4d5e6f",
    "urn:uuid:0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
    ids.public("wsf", ids.new()),
    ids.public("prv", ids.new()),
    "prv_",
    "prv_" + "z" * 26,
    "é" * 40,
    "\u202e",
    "a" * 5_000,
    " ",
    "*",
    "'--",
    "..",
    ".",
)
BAD_ESCAPES = ("%00", "%ff", "%zz", "%", "%ed%a0%80", "%c0%af")
TEXT_KINDS = {"path", "q", "agent_id", "model", "file_id", "name"}
METHODS = (
    "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    "TRACE", "CONNECT", "PROPFIND", "FOO", "A" * 1_000,
)  # fmt: skip


@pytest.mark.parametrize("one", shares.every(2, WITH_IDS), ids=str)
def test_an_id_that_cannot_be_is_answered_like_an_unknown_one(one: Documented):
    stage = operations.stage()
    free_text = {"name", "agent_id"}  # names of people's choosing: some of the ids are good ones
    with attacks.nothing_changes():
        found = {
            f"{name}={text[:40]}": faults
            for name in set(one.names) - free_text
            for text in (*BAD_IDS, str(ids.new()))
            if (faults := faults_of_refusal(_sent(stage, one, name, quote(text, safe=""))))
        }
    assert found == {}


@pytest.mark.parametrize("one", shares.every(2, WITH_IDS, first=1), ids=str)
def test_bytes_that_are_no_text_are_refused_in_a_path(one: Documented):
    stage = operations.stage()
    with attacks.nothing_changes():
        found = {
            f"{name}={escape}": faults
            for name in one.names
            for escape in BAD_ESCAPES
            if (faults := faults_of_refusal(_sent(stage, one, name, f"a{escape}b")))
        }
    assert found == {}


@pytest.mark.parametrize("one", [o for o in WITH_IDS if o.id not in attacks.SLOW], ids=str)
def test_names_of_any_kind_are_taken_or_refused(one: Documented):
    stage = operations.stage()
    found = {
        f"{name}={text[:40]}": faults
        for name in set(one.names) & {"name", "agent_id"}
        for text in (*BAD_IDS, *attacks.ODD_STRINGS)
        if (faults := faults_of_any(_sent(stage, one, name, quote(text, safe=""))))
    }
    assert found == {}


def _sent(stage: Stage, one: Documented, name: str, text: str) -> inprocess.Answer:
    """The example with one parameter of its path replaced by raw characters."""
    base = stage.request(one)
    known = quote(stage.value(one, name), safe="/")
    return attacks.attempt(base.with_(path=base.path.replace(known, text)))


@pytest.mark.parametrize("one", shares.every(2, ASKING), ids=str)
def test_a_query_of_a_wrong_type_is_refused_with_a_pointer_to_it(one: Documented):
    base = operations.stage().request(one)
    with attacks.nothing_changes():
        found = {
            f"{name}={text[:40]}": faults
            for name, text in _wrong_queries(one)
            if (
                faults := faults_of_refusal(
                    attacks.attempt(base.with_(query=dict(base.query) | {name: text})),
                    pointer=_pointer(one, name),
                )
            )
        }
    assert found == {}


def _pointer(one: Documented, name: str) -> str | None:
    """Usage answers a foreign cursor like a foreign row: with a 404."""
    return None if one.id == "list_usage" and name == "cursor" else f"/{name}"


@pytest.mark.parametrize("one", shares.every(2, ASKING, first=1), ids=str)
def test_an_id_in_a_query_that_cannot_be_is_refused(one: Documented):
    base = operations.stage().request(one)
    with attacks.nothing_changes():
        found = {
            f"{parameter['name']}={text[:40]}": faults
            for parameter in one.parameters("query")
            for text in BAD_IDS
            if parameter["schema"].get("format") == "uuid"
            if (
                faults := faults_of_refusal(
                    attacks.attempt(base.with_(query=dict(base.query) | {parameter["name"]: text}))
                )
            )
        }
    assert found == {}


def _wrong_queries(one: Documented) -> Iterator[tuple[str, str]]:
    for parameter in one.parameters("query"):
        name, schema = parameter["name"], parameter["schema"]
        if "enum" in schema:
            yield from ((name, text) for text in ("surprise", "a" * 5_000, "-1"))
        elif schema.get("type") == "integer":
            yield from ((name, text) for text in ("-1", "1.5", "abc", "9" * 400, "0x10", "1e3"))
        elif schema.get("format") in {"date-time", "decimal"}:
            yield from ((name, text) for text in ("x", "a" * 5_000, "2026-13-45"))
        if name == "limit":
            yield from ((name, text) for text in ("0", "1000000000", "2147483648"))
        if name == "cursor":
            yield from ((name, text) for text in ("x", "AAAA", "e30", "é", "a" * 5_000, "=="))


@pytest.mark.parametrize("one", PAGED, ids=str)
def test_the_cursor_of_another_list_is_refused(one: Documented):
    stage = operations.stage()
    other = "list_organizations" if one.id == "list_sessions" else "list_sessions"
    (theirs,) = (found for found in EVERY if found.id == other)
    page = stage.request(theirs).with_(query={"limit": "1"}).send().json()
    assert page["next_cursor"]
    for cursor in (page["next_cursor"], page["next_cursor"][:-2], page["next_cursor"] + "A"):
        request = stage.request(one)
        answer = attacks.attempt(request.with_(query=dict(request.query) | {"cursor": cursor}))
        assert faults_of_refusal(answer, pointer=_pointer(one, "cursor")) == []


@pytest.mark.parametrize("one", [o for o in ASKING if o.id not in STREAMED], ids=str)
def test_odd_queries_are_taken_or_refused_but_never_a_fault_of_ours(one: Documented):
    base = operations.stage().request(one)
    texts = ODD_NUMBERS + attacks.ODD_STRINGS[: 4 if one.id == "search_files" else None]
    found = {
        f"{parameter['name']}={text[:40]}": faults
        for number, parameter in enumerate(one.parameters("query"))
        for text in texts[number % 3 :: 3]
        if (
            faults := faults_of_any(
                attacks.attempt(base.with_(query=dict(base.query) | {parameter["name"]: text}))
            )
        )
    }
    assert found == {}


@pytest.mark.parametrize("one", [o for o in EVERY if o.id not in attacks.SLOW], ids=str)
def test_bytes_that_are_no_text_are_refused_in_a_query(one: Documented):
    base = operations.stage().request(one)
    with attacks.nothing_changes():
        for escape in BAD_ESCAPES:
            for query in (f"x={escape}", f"{escape}=x", f"path=a{escape}&limit=1"):
                answer = inprocess.send(
                    base.method, f"{base.path}?{query}", headers=base.headers, body=base.body
                )
                assert (query, faults_of_refusal(answer)) == (query, [])


@pytest.mark.parametrize("path", PATHS)
def test_methods_that_are_not_offered_are_refused(path: str):
    stage = operations.stage()
    here = [one for one in EVERY if one.path == path]
    offered = {one.method for one in here}
    offered |= {"HEAD"} if "GET" in offered else set()
    base = stage.request(here[0])
    with attacks.nothing_changes():
        for method in set(METHODS) - offered:
            answer = attacks.attempt(
                Request(method=method, path=base.path, headers=stage.headers, body=b"{}")
            )
            assert (method, answer.status) == (method, 405)
            assert faults_of_refusal(answer) == []
            assert offered <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/", "/api/v1", "/api/v2/workspaces", "/api/v1/workspaces/", "/api/v1//workspaces",
        "/api/v1/workspaces/../auth/me", "/api/v1/%2e%2e/admin/", "/API/V1/workspaces",
        "/api/v1/workspaces%2f", "/api/v1/auth/login/", "/api/v1/\u202e", "/" + "a" * 20_000,
    ],
)  # fmt: skip
def test_addresses_that_are_not_there_are_typed_404s(path: str):
    answer = inprocess.send("GET", quote(path, safe="/%"))
    assert answer.status == 404
    assert faults_of_refusal(answer) == []
