"""Several writers at once: real threads, real commits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.db.models import Sum

from ideplatform.kit.errors import PlatformError
from tests.factories import a_workspace, an_actor
from tests.waiting import eventually
from workspaces.adapters import blobs
from workspaces.models import Blob, FileNode, FileVersionRow, OrganizationStorage, Workspace
from workspaces.services import files, nodes, trees
from workspaces.types import NEW_FILE, Origin


def together(*calls):
    """Run the calls at the same moment, each on its own thread; their answers or error codes."""
    barrier = threading.Barrier(len(calls))

    def one(call):
        barrier.wait(5)
        try:
            return call()
        except PlatformError as refused:
            return refused.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def writer(workspace, path, text, base_version, key=None):
    def call():
        return files.write_text(
            actor=an_actor(workspace.owner),
            workspace_id=workspace.pk,
            path=path,
            text=text,
            base_version=base_version,
            origin=Origin.REST,
            idempotency_key=key,
        ).version

    return call


def test_of_writers_with_one_base_exactly_one_wins(committed_db):
    workspace = a_workspace()
    writer(workspace, "a.txt", "base", NEW_FILE)()
    for round_ in range(1, 6):
        answers = together(*(writer(workspace, "a.txt", f"{round_} {n}", round_) for n in range(4)))
        assert sorted(map(str, answers)) == [str(round_ + 1), *["stale_version"] * 3]
    assert list(FileVersionRow.objects.order_by("version").values_list("version", flat=True)) == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip


def test_of_creators_of_one_file_exactly_one_wins(committed_db):
    workspace = a_workspace()
    answers = together(*(writer(workspace, "d/a.txt", str(n), NEW_FILE) for n in range(4)))
    assert sorted(map(str, answers)) == ["1", *["stale_version"] * 3]
    assert FileNode.objects.count() == 2


def test_one_key_sent_several_times_at_once_makes_one_version(committed_db):
    workspace = a_workspace()
    answers = together(*(writer(workspace, "a.txt", "x", NEW_FILE, key="k") for _ in range(4)))
    assert answers == [1, 1, 1, 1]
    assert FileVersionRow.objects.count() == 1


def test_the_same_content_from_many_workspaces_is_charged_once(committed_db):
    owner = a_workspace().owner
    others = [a_workspace(owner) for _ in range(4)]
    together(*(writer(workspace, "a.txt", "same", NEW_FILE) for workspace in others))
    assert Blob.objects.count() == 1
    assert OrganizationStorage.objects.get().bytes_used == 4


def test_a_quota_holds_against_writers_at_once(committed_db):
    workspace = a_workspace()
    Workspace.objects.filter(pk=workspace.pk).update(bytes_used=1024**3 - 10)
    answers = together(*(writer(workspace, f"{n}.txt", "12345", NEW_FILE) for n in range(4)))
    assert sorted(map(str, answers)) == ["1", "1", "quota_exceeded", "quota_exceeded"]
    assert Workspace.objects.get().bytes_used == 1024**3


def test_a_write_and_a_deletion_of_its_directory_leave_a_tree(committed_db):
    workspace = a_workspace()
    actor = an_actor(workspace.owner)
    for number in range(5):
        writer(workspace, f"d{number}/a.txt", "x", NEW_FILE)()
        together(
            writer(workspace, f"d{number}/b.txt", "x", NEW_FILE),
            lambda n=number: trees.delete(
                actor=actor, workspace_id=workspace.pk, path=f"d{n}", recursive=True
            ),
        )
    paths = set(FileNode.objects.values_list("path", flat=True))
    assert all(path.rpartition("/")[0] in paths | {""} for path in paths)
    counted = Workspace.objects.get()
    assert counted.file_count == len(paths)
    assert counted.bytes_used == (FileNode.objects.aggregate(n=Sum("size"))["n"] or 0)


def test_two_crossing_moves_lose_no_directory_and_make_no_circle(committed_db):
    """The later one makes the parent that the earlier one took away."""
    workspace = a_workspace()
    actor = an_actor(workspace.owner)
    ids = [
        trees.create_directory(actor=actor, workspace_id=workspace.pk, path=path).pk
        for path in ("a", "b")
    ]
    together(
        lambda: trees.move(actor=actor, workspace_id=workspace.pk, source="a", target="b/a"),
        lambda: trees.move(actor=actor, workspace_id=workspace.pk, source="b", target="a/b"),
    )
    found = dict(FileNode.objects.values_list("pk", "path"))
    assert sorted(found.values()) in (["a", "a/b", "a/b/a"], ["b", "b/a", "b/a/b"])
    assert set(ids) <= found.keys()
    assert Workspace.objects.get().file_count == 3


def test_a_writer_that_waits_too_long_is_told_to_come_back(committed_db):
    workspace = a_workspace()
    held, enough = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            nodes.lock(workspace.pk)
            held.set()
            enough.wait(10)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with pytest.raises(PlatformError) as refused:
        writer(workspace, "a.txt", "x", NEW_FILE)()
    enough.set()
    holder.join()
    assert (refused.value.status, refused.value.code) == (503, "workspace_busy")
    assert refused.value.retryable
    assert not FileNode.objects.exists()


def test_the_sweep_waits_for_a_writer_that_uses_the_same_content(committed_db):
    """A blob touched in an open transaction is passed over, and named once that commits."""
    workspace = a_workspace()
    writer(workspace, "a.txt", "same", NEW_FILE)()
    trees.delete(actor=an_actor(workspace.owner), workspace_id=workspace.pk, path="a.txt")
    Blob.objects.update(touched_at="2020-01-01T00:00:00Z")
    touched, enough = threading.Event(), threading.Event()

    def write_slowly():
        with transaction.atomic():
            writer(workspace, "b.txt", "same", NEW_FILE)()
            touched.set()
            enough.wait(10)
        connections.close_all()

    slow = threading.Thread(target=write_slowly)
    slow.start()
    touched.wait(5)
    assert blobs.sweep(untouched=timedelta(hours=1)) == {}
    enough.set()
    slow.join()
    assert eventually(lambda: FileNode.objects.filter(path="b.txt").exists())
    assert blobs.sweep(untouched=timedelta(0)) == {}
    assert Blob.objects.count() == 1
