"""Imports and exports: what goes in comes out, all of it or nothing."""

import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.db.models.functions import Now

from ideplatform.kit import failpoints
from ideplatform.kit.errors import NotFound, TooLarge
from ideplatform.outbox.models import Fact
from tests.factories import a_user, a_workspace, an_actor, join_workspace
from tests.workspaces.archives import an_archive
from tests.workspaces.rest import Caller
from workspaces import tasks
from workspaces.errors import ArchiveRefused, ImportActive
from workspaces.models import (
    Blob,
    FileNode,
    FileVersionRow,
    ImportChunk,
    ImportJob,
    OrganizationStorage,
    Workspace,
)
from workspaces.services import exports, files, import_jobs, imports
from workspaces.types import NEW_FILE, ImportState, Origin, WorkspaceRole

PROJECT: dict[str, str | bytes] = {
    "README.md": "# Project\n",
    "src/main.py": "print('hello')\n",
    "src/pkg/__init__.py": "",
    "data/blob.bin": bytes(range(256)) * 100,
    "empty/": "",
    "a\u0301cento.txt": "x",
}


def receive(workspace, archive, directory="", user=None):
    return import_jobs.receive(
        actor=an_actor(user or workspace.owner),
        workspace_id=workspace.pk,
        directory=directory,
        pieces=[archive],
    )


def run(workspace, archive, directory=""):
    job = receive(workspace, archive, directory)
    tasks.run_import({"job_id": str(job.pk)})
    job.refresh_from_db()
    return job


def export(workspace, path=""):
    found = exports.open_export(
        actor=an_actor(workspace.owner), workspace_id=workspace.pk, path=path
    )
    with zipfile.ZipFile(io.BytesIO(b"".join(found.pieces))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def _bytes(value):
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.django_db
def test_what_was_imported_is_exported():
    workspace = a_workspace()
    job = run(workspace, an_archive(PROJECT))
    assert (job.state, job.files_written, job.problem) == (ImportState.DONE, 5, None)
    exported = export(workspace)
    directories = {"src/": b"", "src/pkg/": b"", "data/": b"", "empty/": b""}
    renamed = {**PROJECT, "\u00e1cento.txt": PROJECT["a\u0301cento.txt"]}
    del renamed["a\u0301cento.txt"]
    assert exported == {name: _bytes(content) for name, content in renamed.items()} | directories
    assert run(a_workspace(), an_archive(exported)).files_written == 5
    counted = Workspace.objects.get(pk=workspace.pk)
    assert (counted.file_count, counted.bytes_used) == (9, 10 + 15 + 25_600 + 1)
    assert not ImportChunk.objects.exists()


@pytest.mark.django_db
def test_an_import_adds_versions_only_where_content_differs():
    workspace = a_workspace()
    run(workspace, an_archive({"a.txt": "one", "b.txt": "same"}), "lib")
    job = run(workspace, an_archive({"a.txt": "two", "b.txt": "same", "c.txt": "new"}), "lib")
    assert (job.files_written, job.files_unchanged) == (2, 1)
    versions = FileVersionRow.objects.order_by("file__path", "version")
    assert list(versions.values_list("file__path", "version", "origin")) == [
        ("lib/a.txt", 1, "import"),
        ("lib/a.txt", 2, "import"),
        ("lib/b.txt", 1, "import"),
        ("lib/c.txt", 1, "import"),
    ]
    assert Fact.objects.filter(topic="file.changed").count() == 4
    assert Workspace.objects.get().bytes_used == 3 + 4 + 3
    assert OrganizationStorage.objects.get().bytes_used == 3 + 3 + 4 + 3


@pytest.mark.django_db
def test_an_export_of_a_directory_holds_it_alone():
    workspace = a_workspace()
    run(workspace, an_archive(PROJECT))
    assert set(export(workspace, "src/pkg")) == {"pkg/", "pkg/__init__.py"}
    assert set(export(workspace, "README.md")) == {"README.md"}
    with pytest.raises(NotFound):
        export(workspace, "missing")


@pytest.mark.django_db
def test_an_export_is_named_after_the_workspace_but_never_a_path():
    workspace = a_workspace(name="../a:b\\c\u202e\u00e9")
    found = exports.open_export(actor=an_actor(workspace.owner), workspace_id=workspace.pk)
    assert found.filename == ".._a_b_c_\u00e9.zip"
    answer = Caller(workspace.owner, workspace).send("GET", "/files/export")
    disposition = "attachment; filename*=utf-8''.._a_b_c_%C3%A9.zip"
    assert answer["Content-Disposition"] == disposition


@pytest.mark.django_db
def test_an_import_over_the_quota_changes_nothing():
    workspace = a_workspace()
    Workspace.objects.update(bytes_used=1024**3 - 3)
    job = run(workspace, an_archive({"a.txt": "12", "b.txt": "34"}))
    assert (job.state, job.problem["code"]) == (ImportState.FAILED, "quota_exceeded")
    assert not FileNode.objects.exists()
    assert not Blob.objects.exists()
    assert OrganizationStorage.objects.get().bytes_used == 0


@pytest.mark.django_db
def test_content_that_somebody_else_named_survives_a_failed_import():
    workspace = a_workspace()
    files.write_text(
        actor=an_actor(workspace.owner),
        workspace_id=workspace.pk,
        path="kept.txt",
        text="shared",
        base_version=NEW_FILE,
        origin=Origin.REST,
    )
    job = run(workspace, an_archive({"a.txt": "shared", "kept.txt/x": "new"}))
    assert job.problem["code"] == "path_collision"
    assert list(Blob.objects.values_list("size", flat=True)) == [6]
    assert OrganizationStorage.objects.get().bytes_used == 6


@pytest.mark.django_db
def test_one_import_at_a_time():
    workspace = a_workspace()
    first = receive(workspace, an_archive())
    with pytest.raises(ImportActive):
        receive(workspace, an_archive())
    imports.run(job_id=first.pk)
    assert run(workspace, an_archive({"b.txt": "x"})).state == ImportState.DONE


@pytest.mark.django_db
def test_the_right_is_asked_again_when_the_import_runs():
    workspace = a_workspace()
    editor = a_user()
    join_workspace(workspace, editor, WorkspaceRole.EDITOR)
    job = receive(workspace, an_archive(), user=editor)
    workspace.memberships.filter(user=editor).delete()
    tasks.run_import({"job_id": str(job.pk)})
    job.refresh_from_db()
    assert (job.state, job.problem["code"]) == (ImportState.FAILED, "not_found")
    assert not FileNode.objects.exists()


@pytest.mark.django_db
def test_an_archive_over_the_limit_or_empty_is_not_kept():
    workspace = a_workspace()
    piece = b"x" * (1024 * 1024)
    with pytest.raises(TooLarge):
        import_jobs.receive(
            actor=an_actor(workspace.owner),
            workspace_id=workspace.pk,
            directory="",
            pieces=[piece] * 101,
        )
    with pytest.raises(ArchiveRefused):
        receive(workspace, b"")
    assert not ImportJob.objects.exists()
    assert not ImportChunk.objects.exists()


@pytest.mark.django_db
def test_an_archive_arrives_over_rest_and_its_job_tells_how_it_went():
    workspace = a_workspace()
    caller = Caller(workspace.owner, workspace)
    answer = caller.send(
        "POST", "/files/import?path=lib", an_archive(), content_type="application/zip"
    )
    job = ImportJob.objects.get()
    where = f"/api/v1/workspaces/{workspace.pk}/files/import/{job.pk}"
    assert (answer.status_code, answer["Location"]) == (202, where)
    assert (answer.json()["state"], answer.json()["path"]) == ("queued", "lib")
    assert Fact.objects.get(topic="import.requested").payload == {"job_id": str(job.pk)}
    imports.run(job_id=job.pk)
    done = caller.send("GET", f"/files/import/{job.pk}").json()
    assert (done["state"], done["files_written"]) == ("done", 1)
    assert caller.send("GET", "/files/content?path=lib/a.txt").json()["content"] == "hello"
    exported = caller.send("GET", "/files/export", Accept="application/zip")
    assert exported["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(b"".join(exported.streaming_content))) as archive:
        assert archive.namelist() == ["lib/", "lib/a.txt"]


@pytest.mark.django_db
def test_a_worker_that_fails_midway_is_followed_by_another():
    workspace = a_workspace()
    job = receive(workspace, an_archive(PROJECT))
    with failpoints.armed("import.mid:raise"), pytest.raises(failpoints.FailpointRaised):
        imports.run(job_id=job.pk)
    assert not FileNode.objects.exists()
    imports.run(job_id=job.pk)  # still owned: nothing happens
    assert ImportJob.objects.get().fence == 1
    ImportJob.objects.update(lease_until="2020-01-01T00:00:00Z")
    Fact.objects.all().delete()
    tasks.resume_imports()
    assert Fact.objects.filter(topic="import.requested", key=str(job.pk)).count() == 1
    imports.run(job_id=job.pk)
    job.refresh_from_db()
    assert (job.state, job.fence, job.files_written) == (ImportState.DONE, 2, 5)


@pytest.mark.django_db
def test_a_job_that_never_ends_is_given_up_after_three_attempts():
    workspace = a_workspace()
    job = receive(workspace, an_archive())
    for _ in range(3):
        with failpoints.armed("import.mid:raise"), pytest.raises(failpoints.FailpointRaised):
            imports.run(job_id=job.pk)
        ImportJob.objects.update(lease_until="2020-01-01T00:00:00Z")
    imports.run(job_id=job.pk)
    job.refresh_from_db()
    assert (job.state, job.problem["code"]) == (ImportState.FAILED, "archive_refused")
    assert not ImportChunk.objects.exists()


@pytest.mark.django_db
def test_a_worker_that_lost_its_lease_finishes_nothing():
    workspace = a_workspace()
    job = receive(workspace, an_archive())
    slow = import_jobs.claim(job.pk)
    assert slow is not None
    ImportJob.objects.update(lease_until=Now())
    fast = import_jobs.claim(job.pk)
    assert fast is not None
    assert (slow.fence, fast.fence) == (1, 2)
    with pytest.raises(import_jobs.LeaseLost):
        import_jobs.renew(slow)
    with pytest.raises(import_jobs.LeaseLost):
        import_jobs.finish(slow, written=1, unchanged=0)
    import_jobs.give_up(slow, ArchiveRefused())
    job.refresh_from_db()
    assert (job.state, job.fence) == (ImportState.RUNNING, 2)
    assert ImportChunk.objects.exists()


def test_of_workers_that_claim_one_job_exactly_one_owns_it(committed_db):
    job = receive(a_workspace(), an_archive())
    barrier = threading.Barrier(4)

    def claim(_):
        barrier.wait(5)
        try:
            return import_jobs.claim(job.pk)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        owned = list(pool.map(claim, range(4)))
    assert [claim.fence for claim in owned if claim is not None] == [1]
