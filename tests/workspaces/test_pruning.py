"""What retention takes, and what it leaves."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now

from ideplatform.outbox.models import Fact
from tests.factories import a_workspace, an_actor
from workspaces import tasks
from workspaces.models import (
    Blob,
    BlobChunk,
    FileNode,
    FileVersionRow,
    FileWriteKey,
    OrganizationStorage,
    Workspace,
)
from workspaces.services import files, pruning, trees
from workspaces.types import Origin

pytestmark = pytest.mark.django_db


def write(workspace, path, *texts, key=None):
    for text in texts:
        files.write_text(
            actor=an_actor(workspace.owner),
            workspace_id=workspace.pk,
            path=path,
            text=text,
            base_version=None,
            origin=Origin.REST,
            idempotency_key=key,
        )


def _versions(path):
    rows = FileVersionRow.objects.filter(file__path=path).order_by("version")
    return list(rows.values_list("version", flat=True))


def _age_contents():
    Blob.objects.update(touched_at=Now() - timedelta(hours=2))


def test_a_hundred_versions_are_kept():
    workspace = a_workspace()
    write(workspace, "a.txt", *(str(number) for number in range(103)))
    write(workspace, "b.txt", "one")
    tasks.prune_files()
    assert _versions("a.txt") == list(range(4, 104))
    assert _versions("b.txt") == [1]


def test_ninety_days_are_kept_and_the_current_version_always():
    workspace = a_workspace()
    write(workspace, "a.txt", "one", "two", "three")
    old = FileVersionRow.objects.filter(version__lte=2)
    old.update(created_at=Now() - timedelta(days=91))
    assert pruning.prune_versions() == 2
    assert _versions("a.txt") == [3]
    FileVersionRow.objects.update(created_at=Now() - timedelta(days=900))
    assert pruning.prune_versions() == 0


def test_contents_go_an_hour_after_nobody_names_them():
    workspace = a_workspace()
    write(workspace, "a.txt", "one")
    write(workspace, "b.txt", "two")
    trees.delete(actor=an_actor(workspace.owner), workspace_id=workspace.pk, path="a.txt")
    assert pruning.sweep_blobs() == 0
    _age_contents()
    assert pruning.sweep_blobs() == 3
    assert BlobChunk.objects.count() == 1
    assert OrganizationStorage.objects.get().bytes_used == 3


def test_keys_of_writes_are_kept_a_day():
    workspace = a_workspace()
    write(workspace, "a.txt", "one", key="k")
    tasks.prune_files()
    assert FileWriteKey.objects.count() == 1
    FileWriteKey.objects.update(created_at=Now() - timedelta(hours=25))
    tasks.prune_files()
    assert not FileWriteKey.objects.exists()


def test_a_deleted_workspace_is_emptied_after_thirty_days_and_its_row_stays():
    gone, kept = a_workspace(), a_workspace()
    for workspace in (gone, kept):
        write(workspace, "src/a.txt", "one", "two")
        Workspace.objects.filter(pk=workspace.pk).update(deleted_at=Now() - timedelta(days=29))
    Workspace.objects.filter(pk=gone.pk).update(deleted_at=F("deleted_at") - timedelta(days=2))
    tasks.purge_deleted()
    assert set(FileNode.objects.values_list("workspace_id", flat=True)) == {kept.pk}
    row = Workspace.objects.get(pk=gone.pk)
    assert (row.name, row.file_count, row.bytes_used) == ("", 0, 0)
    assert not row.memberships.exists()
    assert Fact.objects.filter(topic="workspace.purged").get().key == str(gone.pk)
    assert pruning.purge_deleted() == 0
