"""Files below the edge: facts, facts' payloads, quotas, projection, the text authority."""

from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from ideplatform.kit.errors import InvalidInput, NotFound, StaleVersion, StorageFull
from ideplatform.outbox.models import Fact
from tests.factories import a_workspace, an_actor
from workspaces.errors import NotText, QuotaExceeded
from workspaces.models import (
    Blob,
    BlobChunk,
    FileNode,
    FileVersionRow,
    OrganizationStorage,
    Workspace,
)
from workspaces.services import files, quotas, trees
from workspaces.types import NEW_FILE, FileVersion, Origin

pytestmark = pytest.mark.django_db
GIB = 1024 * 1024 * 1024


@pytest.fixture
def workspace():
    return a_workspace()


def write(workspace, path="a.txt", text="hello", base_version=None, **options):
    return files.write_text(
        actor=an_actor(workspace.owner),
        workspace_id=workspace.pk,
        path=path,
        text=text,
        base_version=base_version,
        origin=options.pop("origin", Origin.AGENT),
        **options,
    )


def read(workspace, path="a.txt", version=None):
    return files.read_text(
        actor=an_actor(workspace.owner), workspace_id=workspace.pk, path=path, version=version
    )


def _counters(workspace):
    row = Workspace.objects.get(pk=workspace.pk)
    stored = OrganizationStorage.objects.filter(organization=workspace.organization)
    return row.bytes_used, row.file_count, sum(stored.values_list("bytes_used", flat=True))


def test_a_write_tells_which_version_came_from_where(workspace):
    run_id = workspace.pk
    version = write(workspace, "src/a.py", "x", run_id=run_id)
    fact = Fact.objects.get(topic="file.changed")
    assert (fact.key, fact.payload) == (
        str(version.file_id),
        {
            "workspace_id": str(workspace.pk),
            "file_id": str(version.file_id),
            "version_id": version.id,
            "version": 1,
            "path": "src/a.py",
            "origin": "agent",
            "author_id": str(workspace.owner_id),
            "run_id": str(run_id),
        },
    )
    assert read(workspace, "src/a.py").version == version


def test_moves_and_deletions_tell_of_every_file(workspace):
    first, second = write(workspace, "src/a.py"), write(workspace, "src/deep/b.py")
    trees.move(
        actor=an_actor(workspace.owner), workspace_id=workspace.pk, source="src", target="lib"
    )
    moved = Fact.objects.filter(topic="file.moved").order_by("id")
    assert [(fact.key, fact.payload["from_path"], fact.payload["path"]) for fact in moved] == [
        (str(first.file_id), "src/a.py", "lib/a.py"),
        (str(second.file_id), "src/deep/b.py", "lib/deep/b.py"),
    ]
    count = trees.delete(
        actor=an_actor(workspace.owner), workspace_id=workspace.pk, path="lib", recursive=True
    )
    assert count == 4
    deleted = Fact.objects.filter(topic="file.deleted").values_list("key", flat=True)
    assert set(deleted) == {str(first.file_id), str(second.file_id)}
    assert not FileVersionRow.objects.exists()


def test_without_a_base_the_last_write_wins(workspace):
    write(workspace, text="one")
    assert write(workspace, text="two").version == 2
    assert read(workspace).text == "two"
    assert read(workspace, version=1).text == "one"


def test_the_same_content_is_stored_once_in_an_organization_and_never_across(workspace):
    write(workspace, "a.txt", "same")
    write(workspace, "b.txt", "same")
    write(a_workspace(workspace.owner), "c.txt", "same")
    assert Blob.objects.count() == 1
    write(a_workspace(), "d.txt", "same")
    assert Blob.objects.count() == 2
    assert _counters(workspace) == (8, 2, 4)


def test_large_content_lies_in_pieces(workspace):
    text = "0123456789abcdef" * 150_000
    write(workspace, text=text)
    sizes = [len(data) for data in BlobChunk.objects.order_by("no").values_list("data", flat=True)]
    assert sizes == [1_048_576, 1_048_576, 302_848]
    assert read(workspace).text == text


@pytest.mark.parametrize(
    ("text", "eol", "has_bom"),
    [("a\nb\n", "lf", False), ("a\r\nb\r\nc\n", "crlf", False), ("a\rb", "cr", False),
     ("\ufeffa", "", True), ("", "", False), ("a\0\r\n", "", False)],
)  # fmt: skip
def test_line_ends_and_mark_are_remembered(workspace, text, eol, has_bom):
    version = write(workspace, text=text)
    node = FileNode.objects.get(pk=version.file_id)
    assert (node.eol, node.has_bom) == (eol, has_bom)


def test_what_is_not_text_is_not_read_as_text(workspace):
    files.write_bytes(
        actor=an_actor(workspace.owner),
        workspace_id=workspace.pk,
        path="a.bin",
        content=b"\xff\xfe",
        base_version=NEW_FILE,
        origin=Origin.UPLOAD,
    )
    with pytest.raises(NotText):
        read(workspace, "a.bin")


def test_text_that_is_not_unicode_is_refused(workspace):
    with pytest.raises(InvalidInput):
        write(workspace, text="\ud800")
    assert not FileNode.objects.exists()


@pytest.mark.parametrize(
    ("used", "nodes"), [(GIB - 4, 0), (0, quotas.WORKSPACE_NODES), (0, quotas.WORKSPACE_NODES - 1)]
)
def test_a_workspace_over_its_quota_takes_nothing_more(workspace, used, nodes):
    Workspace.objects.filter(pk=workspace.pk).update(bytes_used=used, file_count=nodes)
    with pytest.raises(QuotaExceeded) as refused:
        write(workspace, "dir/a.txt", "hello")
    assert (refused.value.status, refused.value.code) == (413, "quota_exceeded")
    assert _counters(workspace) == (used, nodes, 0)
    assert not FileNode.objects.exists()


def test_a_workspace_may_be_filled_to_the_last_byte_and_node(workspace):
    Workspace.objects.filter(pk=workspace.pk).update(
        bytes_used=GIB - 5, file_count=quotas.WORKSPACE_NODES - 2
    )
    write(workspace, "dir/a.txt", "hello")
    assert _counters(workspace) == (GIB, quotas.WORKSPACE_NODES, 5)
    write(workspace, "dir/a.txt", "less")
    assert _counters(workspace) == (GIB - 1, quotas.WORKSPACE_NODES, 9)


def test_an_organization_over_its_quota_takes_no_new_content(workspace):
    write(workspace, "a.txt", "known")
    OrganizationStorage.objects.update(bytes_used=quotas.ORGANIZATION_BYTES)
    with pytest.raises(QuotaExceeded):
        write(workspace, "b.txt", "unknown")
    assert Blob.objects.count() == 1
    write(workspace, "c.txt", "known")


def _fill_the_disk():
    """The database answers as with a full disk: its own error, from its own statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse_chunk() RETURNS trigger LANGUAGE plpgsql AS $$"
            " BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON blob_chunks"
            " FOR EACH ROW EXECUTE FUNCTION refuse_chunk()"
        )


def test_on_a_full_disk_writes_say_so_and_reads_go_on(workspace):
    write(workspace, "a.txt", "kept")
    _fill_the_disk()
    with pytest.raises(StorageFull) as refused:
        write(workspace, "b.txt", "lost")
    assert (refused.value.status, refused.value.code) == (507, "storage_full")
    assert list(FileNode.objects.values_list("path", flat=True)) == ["a.txt"]
    assert read(workspace, "a.txt").text == "kept"
    assert _counters(workspace) == (4, 1, 4)


def test_a_document_is_projected_once_per_sequence_number(workspace):
    version = write(workspace, text="\ufeffone\r\ntwo\r\n")
    projected = files.project_text(
        file_id=version.file_id, text="one\n2\n", doc_seq=7, base_version=1
    )
    assert (projected.version, projected.origin, projected.author_id) == (2, "document", None)
    assert read(workspace).text == "\ufeffone\r\n2\r\n"
    again = files.project_text(file_id=version.file_id, text="x\n", doc_seq=7, base_version=2)
    assert again.version == 2


def test_a_projection_onto_another_version_is_stale(workspace):
    version = write(workspace, text="one")
    write(workspace, text="two")
    with pytest.raises(StaleVersion):
        files.project_text(file_id=version.file_id, text="1", doc_seq=1, base_version=1)
    assert FileNode.objects.get().doc_seq == 0
    with pytest.raises(NotFound):
        files.project_text(file_id=workspace.pk, text="1", doc_seq=1, base_version=1)


class Documents:
    """A text authority: it holds some files and keeps what it is given."""

    def __init__(self, *held):
        self.held, self.calls = set(held), []

    def holds(self, *, file_id):
        return file_id in self.held

    def write_text(self, **call):
        assert not connection.in_atomic_block or _is_only_the_tests_own()
        self.calls.append(call)
        return FileVersion(
            id=1,
            file_id=call["file_id"],
            workspace_id=call["file_id"],
            path="merged",
            version=9,
            size=0,
            sha256="",
            author_id=call["author_id"],
            run_id=call["run_id"],
            origin=call["origin"],
            created_at=datetime.now(UTC),
        )


def _is_only_the_tests_own():
    return len(connection.savepoint_ids) == 0


def test_a_file_with_a_live_document_goes_to_its_authority_and_others_do_not(workspace):
    live, plain = write(workspace, "live.txt", "one"), write(workspace, "plain.txt", "one")
    documents = Documents(live.file_id)
    files.use_authority(documents)
    try:
        merged = write(workspace, "live.txt", "two", base_version=1, idempotency_key="k")
        written = write(workspace, "plain.txt", "two", base_version=1)
    finally:
        files.use_authority(None)
    assert (merged.version, written.version) == (9, 2)
    assert documents.calls == [
        {
            "file_id": live.file_id,
            "text": "two",
            "base_version": 1,
            "author_id": workspace.owner_id,
            "origin": Origin.AGENT,
            "run_id": None,
            "idempotency_key": "k",
        }
    ]
    assert plain.version == 1
    assert read(workspace, "live.txt").text == "one"


def test_a_failed_write_inside_a_larger_transaction_leaves_it_usable(workspace):
    with transaction.atomic():
        write(workspace, "a.txt", "one")
        with pytest.raises(StaleVersion):
            write(workspace, "a.txt", "two", base_version=NEW_FILE)
        write(workspace, "b.txt", "two")
    assert FileNode.objects.count() == 2
