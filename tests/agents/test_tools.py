"""What a model may do to the files of its run's workspace."""

from __future__ import annotations

import json

import pytest

from agents import tools
from agents.tools import MAX_RESULT_BYTES, Workbench
from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from providers.types import ToolUsePart
from tests.agents.builders import a_desk
from tests.factories import a_user, an_actor, join_workspace
from workspaces.services import files
from workspaces.types import NEW_FILE, Origin, WorkspaceRole

pytestmark = pytest.mark.usefixtures("committed_db")


@pytest.fixture
def desk(committed_db):
    return a_desk()


@pytest.fixture
def bench(desk):
    return Workbench(actor=desk.actor, workspace_id=desk.workspace.pk, run_id=ids.new())


def put(desk, path, text):
    return files.write_text(
        actor=desk.actor,
        workspace_id=desk.workspace.pk,
        path=path,
        text=text,
        base_version=None,
        origin=Origin.REST,
    )


async def use(bench, name, key="k", **arguments):
    call = ToolUsePart(id="c", name=name, arguments=json.dumps(arguments))
    outcome, _ = await tools.invoke(call, bench, key=key)
    return outcome


def stored(desk, path):
    return files.read_text(actor=desk.actor, workspace_id=desk.workspace.pk, path=path)


async def test_a_file_that_was_read_is_written(desk, bench):
    await run_db(put, desk, "a.txt", "old\n")
    assert (await use(bench, "read_file", path="a.txt")).text == "old\n"
    written = await use(bench, "write_file", path="a.txt", content="new\n")
    assert not written.is_error
    found = await run_db(stored, desk, "a.txt")
    assert (found.text, found.version.version) == ("new\n", 2)
    assert (found.version.origin, found.version.run_id) == ("agent", bench.run_id)


async def test_a_file_that_was_not_read_is_not_overwritten(desk, bench):
    await run_db(put, desk, "a.txt", "old\n")
    refused = await use(bench, "write_file", path="a.txt", content="new\n")
    assert refused.is_error
    assert "read it in full" in refused.text
    assert (await run_db(stored, desk, "a.txt")).text == "old\n"


async def test_a_file_that_changed_since_it_was_read_is_not_overwritten(desk, bench):
    await run_db(put, desk, "a.txt", "old\n")
    await use(bench, "read_file", path="a.txt")
    await run_db(put, desk, "a.txt", "somebody else's\n")
    refused = await use(bench, "write_file", path="a.txt", content="new\n")
    assert refused.is_error
    assert "changed after you read it" in refused.text
    assert (await run_db(stored, desk, "a.txt")).text == "somebody else's\n"


async def test_a_file_that_was_seen_in_part_counts_as_not_read(desk, bench):
    await run_db(put, desk, "a.txt", "line\n" * 20_000)
    whole = await use(bench, "read_file", path="a.txt")
    assert len(whole.text.encode()) <= MAX_RESULT_BYTES + 100
    part = await use(bench, "read_file", path="a.txt", first_line=2, lines=2)
    assert part.text == "line\nline\n"
    assert (await use(bench, "write_file", path="a.txt", content="x")).is_error


async def test_a_repeated_write_with_its_key_is_made_once(desk, bench):
    first = await use(bench, "write_file", key="step", path="new/b.txt", content="b")
    bench.versions.clear()
    again = await use(bench, "write_file", key="step", path="new/b.txt", content="b")
    assert again == first
    assert (await run_db(stored, desk, "new/b.txt")).version.version == 1


async def test_listing_and_searching(desk, bench):
    await run_db(put, desk, "src/a.py", "def add(): pass\n")
    listed = await use(bench, "list")
    assert listed.text.splitlines() == ["src/", "src/a.py (16 bytes)"]
    found = await use(bench, "search", text="add")
    assert found.text == "src/a.py:1: def add(): pass"
    assert (await use(bench, "search", text="nothing")).text == "No match."


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read_file", {"path": "../secret"}),
        ("read_file", {"path": ".git/config"}),
        ("read_file", {"path": "missing"}),
        ("read_file", {}),
        ("write_file", {"path": "a\0b", "content": ""}),
        ("search", {"text": "(", "is_regex": True}),
        ("rm_rf", {"path": "/"}),
    ],
)
async def test_a_refusal_is_an_outcome_that_says_why(desk, bench, name, arguments):
    await run_db(put, desk, "a.txt", "x")
    outcome = await use(bench, name, **arguments)
    assert outcome.is_error
    assert outcome.text.startswith("Error: ")


async def test_arguments_that_are_not_json_are_the_model_s_to_mend(bench):
    call = ToolUsePart(id="c", name="read_file", arguments='{"path": ')
    outcome, _ = await tools.invoke(call, bench, key="k")
    assert outcome.is_error
    assert "path" in outcome.text


async def test_tools_have_the_rights_of_the_person_and_no_more(desk):
    viewer = await run_db(a_user)
    await run_db(join_workspace, desk.workspace, viewer, WorkspaceRole.VIEWER)
    await run_db(put, desk, "a.txt", "x")
    bench = Workbench(actor=an_actor(viewer), workspace_id=desk.workspace.pk, run_id=ids.new())
    assert not (await use(bench, "read_file", path="a.txt")).is_error
    assert (await use(bench, "write_file", path="a.txt", content="y")).is_error
    stranger = await run_db(a_user)
    bench = Workbench(actor=an_actor(stranger), workspace_id=desk.workspace.pk, run_id=ids.new())
    assert (await use(bench, "read_file", path="a.txt")).is_error
    assert (await run_db(stored, desk, "a.txt")).text == "x"


def test_every_tool_tells_the_model_its_arguments():
    schemas = {tool.name: json.loads(bytes(tool.parameters)) for tool in tools.ALL}
    assert set(schemas["write_file"]["required"]) == {"path", "content"}
    assert schemas["read_file"]["type"] == "object"
    assert NEW_FILE == 0
