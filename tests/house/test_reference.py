"""`docs/reference/` and `.env.example` say what the code says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from agents import frames
from agents.journal import entries
from ideplatform import openapi
from ideplatform.kit import ids
from ideplatform.management import reference
from tests import operations
from tests.house import source


def test_no_generated_file_has_drifted():
    """In a process of its own: this one also knows the errors and metrics of tests."""
    checked = subprocess.run(
        [sys.executable, "manage.py", "reference", "--check"],
        cwd=source.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr


def test_drift_is_noticed(tmp_path):
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    assert set(reference.drifted(root=tmp_path)) == set(reference.documents())
    reference.write(root=tmp_path)
    assert reference.drifted(root=tmp_path) == []
    (tmp_path / ".env.example").write_text("SECRET_KEY=\n")
    assert reference.drifted(root=tmp_path) == [".env.example"]


def test_the_document_needs_no_guessing(capsys):
    """drf-spectacular says on stderr what it had to guess."""
    openapi.document()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", sorted(operations.document()["components"]["schemas"]))
def test_each_schema_is_one(name: str):
    Draft202012Validator.check_schema(operations.document()["components"]["schemas"][name])


@pytest.mark.parametrize("one", operations.every(), ids=str)
def test_each_operation_is_described(one: operations.Documented):
    assert one.spec["summary"].endswith(".")
    assert "security" in one.spec
    assert [status for status in one.spec["responses"] if status < "400"]
    assert [status for status in one.spec["responses"] if status >= "400"]
    for parameter in (*one.parameters("query"), *one.parameters("header")):
        assert parameter["schema"]


def test_frames_describe_what_the_socket_sends():
    told = json.loads(reference.documents()["docs/reference/frames.json"])
    event = frames.RunChanged(state="running")
    wire = entries.made(event, run_id=ids.new(), seq=1, fence=1, step_id=None).wire()
    for part in ("event", "envelope"):
        schema = {"$defs": told["$defs"]} | told[part]
        assert list(Draft202012Validator(schema).iter_errors(json.loads(wire))) == []
    sent = {"type": "start", "prompt": "hello", "request_id": "a"}
    client = Draft202012Validator({"$defs": told["$defs"]} | told["client"])
    assert list(client.iter_errors(sent)) == []
    assert list(client.iter_errors(sent | {"surprise": 1})) != []


def test_the_schema_is_served_to_everybody(client):
    answer = client.get("/api/v1/schema")
    assert answer.status_code == 200
    assert answer.json() == operations.document()
