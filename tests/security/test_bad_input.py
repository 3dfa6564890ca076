"""Bad bodies at every operation that reads JSON: a typed problem with pointers, nothing changed."""

from __future__ import annotations

import pytest

from tests import operations, shares
from tests.operations import Documented
from tests.security import attacks
from tests.security.attacks import BODIES, SLOW, form_of, shown, with_member, wrong_values

pytestmark = pytest.mark.django_db
READING = attacks.json_operations(operations.every())
RAW = [one for one in operations.every() if one.content and not one.takes_json]
CONTENT_TYPES = (
    "text/plain",
    "text/xml",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json-seq",
    "garbage",
    "application/",
    "*/*",
    "a" * 5_000,
)


@pytest.mark.parametrize("one", shares.every(2, READING), ids=str)
def test_what_is_no_json_object_is_refused(one: Documented):
    stage = operations.stage()
    base = stage.request(one)
    with attacks.nothing_changes():
        found = {
            name: attacks.faults_of_refusal(attacks.attempt(base.with_(body=body)))
            for name, body in BODIES.items()
        }
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize("one", READING, ids=str)
def test_unknown_and_missing_members_are_refused(one: Documented):
    stage = operations.stage()
    base, example = stage.request(one), stage.example(one)
    sent = {"/surprise": example | {"surprise": 1}, "/a~1b~0c": example | {"a/b~c": 1}}
    for name in form_of(one).get("required", ()):
        sent[f"/{name}"] = {key: value for key, value in example.items() if key != name}
    with attacks.nothing_changes():
        found = {
            pointer: attacks.faults_of_refusal(
                attacks.attempt(base.with_json(body)), pointer=pointer
            )
            for pointer, body in sent.items()
        }
    assert {pointer: faults for pointer, faults in found.items() if faults} == {}


@pytest.mark.parametrize("one", [o for o in READING if form_of(o).get("required")], ids=str)
def test_an_empty_body_lacks_what_is_required(one: Documented):
    base = operations.stage().request(one)
    with attacks.nothing_changes():
        for body in (b"", b"{}", b" "):
            assert attacks.faults_of_refusal(attacks.attempt(base.with_(body=body))) == []


@pytest.mark.parametrize("one", READING, ids=str)
def test_a_member_of_a_wrong_type_is_refused_with_a_pointer_to_it(one: Documented):
    stage = operations.stage()
    with attacks.nothing_changes():
        found = {
            f"{name} = {shown(value)}": faults
            for name, schema in form_of(one)["properties"].items()
            for value in wrong_values(schema)
            if not _means_something(one, name, value)
            if (faults := _refused(stage, one, name, value))
        }
    assert found == {}


def _means_something(one: Documented, name: str, value: object) -> bool:
    """A vendor's own counts may be any object, and `events` makes a batch of a reported call: what
    is wrong inside one is `tests/billing/test_client_usage.py`'s to show.
    """
    is_report = one.id == "report_usage"
    return is_report and (name == "events" or (name == "raw_usage" and isinstance(value, dict)))


def _refused(stage: operations.Stage, one: Documented, name: str, value: object) -> list[str]:
    answer = attacks.attempt(with_member(stage, one, name, value))
    return attacks.faults_of_refusal(answer, pointer=f"/{name}")


@pytest.mark.parametrize("one", [o for o in READING if o.id not in SLOW], ids=str)
def test_odd_text_is_taken_or_refused_but_never_a_fault_of_ours(one: Documented):
    stage = operations.stage()
    found = {
        f"{name} = {shown(text)}": faults
        for name, schema in form_of(one)["properties"].items()
        if schema.get("type") == "string" and "enum" not in schema
        for text in attacks.odd_strings(one)
        if (faults := attacks.faults_of_any(attacks.attempt(with_member(stage, one, name, text))))
    }
    assert found == {}


@pytest.mark.parametrize("one", [o for o in READING if len(o.content) == 1], ids=str)
def test_other_content_types_are_refused(one: Documented):
    base = operations.stage().request(one)
    with attacks.nothing_changes():
        found = {
            media: attacks.attempt(base.with_(headers=dict(base.headers) | {"Content-Type": media}))
            for media in CONTENT_TYPES
        }
    assert {answer.status for answer in found.values()} == {415}
    assert [fault for a in found.values() for fault in attacks.faults_of_refusal(a)] == []


@pytest.mark.parametrize("one", shares.every(2, READING, first=1), ids=str)
def test_a_content_type_of_another_charset_is_no_fault_of_ours(one: Documented):
    base = operations.stage().request(one).with_(body="{}".encode("utf-16"))
    for media in ("application/json; charset=utf-16", "application/json; charset=nonsense"):
        headers = dict(base.headers) | {"Content-Type": media}
        assert attacks.faults_of_any(attacks.attempt(base.with_(headers=headers))) == []


@pytest.mark.parametrize("one", RAW, ids=str)
@pytest.mark.parametrize("body", [b"", b"\0", b"PK\x03\x04", b"\xff" * 100_000])
def test_raw_bodies_are_taken_or_refused(one: Documented, body: bytes):
    base = operations.stage().request(one)
    assert attacks.faults_of_any(attacks.attempt(base.with_(body=body))) == []


@pytest.mark.parametrize("content", ["\x1a\x9e", "a", "a===", "é", "YQ==YQ==", "Y Q = ="])
def test_content_that_is_no_base64_is_refused_with_a_pointer(content: str):
    stage = operations.stage()
    (one,) = (found for found in READING if found.id == "write_file")
    body = {"content": content, "encoding": "base64"}
    with attacks.nothing_changes():
        answer = attacks.attempt(stage.request(one).with_json(body))
    assert attacks.faults_of_refusal(answer, pointer="/content") == []
