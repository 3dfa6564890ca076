"""Hostile archives: each is refused with its reason, and nothing is written."""

import stat
import struct

import pytest

from ideplatform.outbox.models import Fact
from tests.factories import a_workspace, an_actor
from tests.workspaces.archives import Raw, a_raw_archive, an_archive
from workspaces.models import (
    Blob,
    BlobChunk,
    FileNode,
    FileVersionRow,
    ImportChunk,
    OrganizationStorage,
    Workspace,
)
from workspaces.services import import_jobs, imports
from workspaces.types import ImportState

GOOD = Raw(name=b"good.txt", content=b"good")
LINK, FIFO, DEVICE = (stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644)
ZEROS = b"\0" * (2 * 1024 * 1024)
# A whole local header and its content, to be hidden in the content of another entry.
INNER = a_raw_archive(Raw(name=b"inner")).partition(b"PK\x01\x02")[0]

REFUSED = {
    "not a zip": (b"certainly not a zip archive", "archive_refused"),
    "cut in the middle": (an_archive()[:-30], "archive_refused"),
    "a symbolic link": (a_raw_archive(GOOD, Raw(mode=LINK)), "archive_refused"),
    "a named pipe": (a_raw_archive(GOOD, Raw(mode=FIFO)), "archive_refused"),
    "a device": (a_raw_archive(GOOD, Raw(mode=DEVICE)), "archive_refused"),
    "an encrypted entry": (a_raw_archive(GOOD, Raw(flags=0x801)), "archive_refused"),
    "a strongly encrypted entry": (a_raw_archive(GOOD, Raw(flags=0x841)), "archive_refused"),
    "bzip2": (a_raw_archive(GOOD, Raw(method=12)), "archive_refused"),
    "lzma": (a_raw_archive(GOOD, Raw(method=14)), "archive_refused"),
    "a local name that differs": (
        a_raw_archive(GOOD, Raw(name=b"a.txt", local_name=b"b.txt")),
        "archive_refused",
    ),
    "entries that share bytes": (
        a_raw_archive(Raw(name=b"same", content=b"x" * 99), Raw(name=b"same", offset=0)),
        "archive_refused",
    ),
    "an entry inside another": (
        a_raw_archive(
            Raw(name=b"outer", method=0, content=INNER),
            Raw(name=b"inner", offset=30 + len("outer")),
        ),
        "archive_refused",
    ),
    "an entry outside": (a_raw_archive(GOOD, Raw(offset=1 << 30)), "archive_refused"),
    "a wrong checksum": (a_raw_archive(GOOD, Raw(crc=1)), "archive_refused"),
    "more bytes than promised": (a_raw_archive(GOOD, Raw(size=2)), "archive_refused"),
    "fewer bytes than promised": (a_raw_archive(GOOD, Raw(size=2_000)), "archive_refused"),
    "stored bytes of another size": (
        a_raw_archive(GOOD, Raw(method=0, size=9)),
        "archive_refused",
    ),
    "packed bytes that are none": (
        a_raw_archive(GOOD, Raw(packed=b"\xff\xff\xff\xff")),
        "archive_refused",
    ),
    "bytes after the packed ones": (
        a_raw_archive(GOOD, Raw(content=b"", packed=b"\x03\x00junk")),
        "archive_refused",
    ),
    "a bomb": (a_raw_archive(GOOD, Raw(content=ZEROS)), "archive_refused"),
    "a file over 16 MiB": (
        a_raw_archive(GOOD, Raw(size=16 * 1024 * 1024 + 1)),
        "archive_refused",
    ),
    "a content for a directory": (a_raw_archive(GOOD, Raw(name=b"dir/")), "archive_refused"),
    "a NUL in a name": (a_raw_archive(GOOD, Raw(name=b"a\0.txt")), "invalid_path"),
    "a way up": (a_raw_archive(GOOD, Raw(name=b"../a.txt")), "invalid_path"),
    "a hidden way up": (a_raw_archive(GOOD, Raw(name=b"x/../../a.txt")), "invalid_path"),
    "an absolute path": (a_raw_archive(GOOD, Raw(name=b"/etc/passwd")), "invalid_path"),
    "a drive": (a_raw_archive(GOOD, Raw(name=b"C:/a.txt")), "invalid_path"),
    "a backslash": (a_raw_archive(GOOD, Raw(name=b"..\\a.txt")), "invalid_path"),
    "a Git directory": (a_raw_archive(GOOD, Raw(name=b".git/hooks/post-checkout")), "invalid_path"),
    "the same name twice": (a_raw_archive(Raw(), Raw()), "path_collision"),
    "names that differ by case": (
        a_raw_archive(Raw(name=b"README"), Raw(name=b"readme")),
        "path_collision",
    ),
    "names that differ by composition": (
        a_raw_archive(Raw(name="\u00e9".encode()), Raw(name="e\u0301".encode())),
        "path_collision",
    ),
    "directories that differ by case": (
        a_raw_archive(Raw(name=b"Src/a"), Raw(name=b"src/b")),
        "path_collision",
    ),
    "a file that is a directory": (
        a_raw_archive(Raw(name=b"a"), Raw(name=b"a/b")),
        "path_collision",
    ),
    "a file where one stands spelt otherwise": (
        a_raw_archive(Raw(name=b"SRC")),
        "path_collision",
    ),
}


def _imported(workspace, archive):
    actor = an_actor(workspace.owner)
    job = import_jobs.receive(
        actor=actor, workspace_id=workspace.pk, directory="", pieces=[archive]
    )
    imports.run(job_id=job.pk)
    job.refresh_from_db()
    return job


@pytest.mark.django_db
@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_and_leaves_nothing(name):
    archive, code = REFUSED[name]
    workspace = a_workspace()
    FileNode.objects.create(workspace=workspace, path="src", folded_path="src", kind="directory")
    facts = Fact.objects.exclude(topic="import.requested").count()

    job = _imported(workspace, archive)

    assert (job.state, job.problem and job.problem["code"]) == (ImportState.FAILED, code)
    assert list(FileNode.objects.values_list("path", flat=True)) == ["src"]
    assert not FileVersionRow.objects.exists()
    assert not Blob.objects.exists()
    assert not BlobChunk.objects.exists()
    assert not ImportChunk.objects.exists()
    assert sum(OrganizationStorage.objects.values_list("bytes_used", flat=True)) == 0
    workspace = Workspace.objects.get(pk=workspace.pk)
    assert (workspace.bytes_used, workspace.file_count) == (0, 0)
    assert Fact.objects.exclude(topic="import.requested").count() == facts


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("entries that share bytes", "no two entries share bytes"),
        ("an entry inside another", "no two entries share bytes"),
        ("an entry outside", "an entry lies outside the archive"),
        ("a local name that differs", "the directory and a local header disagree"),
        ("a symbolic link", "no entry is a link or a device"),
        ("an encrypted entry", "no entry is encrypted"),
        ("lzma", "entries are stored or deflated"),
        ("a bomb", "content is compressed at most 100 times"),
        ("more bytes than promised", "an entry is not what the directory says"),
    ],
)
def test_the_reason_is_the_right_one(name, detail):
    job = _imported(a_workspace(), REFUSED[name][0])
    assert job.problem["detail"] == detail


@pytest.mark.django_db
def test_more_entries_than_allowed_are_refused():
    entries = [
        Raw(name=b"%d" % number, content=b"", packed=b"\x03\x00") for number in range(20_001)
    ]
    job = _imported(a_workspace(), a_raw_archive(*entries))
    assert job.problem["detail"] == "an archive has at most 20000 entries"
    assert not FileNode.objects.exists()


@pytest.mark.django_db
def test_a_total_beyond_the_limit_is_refused_by_what_the_directory_says():
    """33 entries that say 16 MiB each are over 500 MiB before a byte of them is unpacked."""
    packed = b"\0" * 170_000
    entries = [
        Raw(name=b"%d" % number, packed=packed, size=16 * 1024 * 1024) for number in range(33)
    ]
    job = _imported(a_workspace(), a_raw_archive(*entries))
    assert job.problem["detail"] == "an archive holds at most 524288000 bytes"


@pytest.mark.django_db
def test_a_directory_of_the_archive_that_cannot_be_read_in_the_limits_is_refused():
    """The end record promises a directory of four gigabytes."""
    archive = an_archive() + struct.pack("<L4H2LH", 0x06054B50, 0, 0, 9, 9, 0xFFFFFFF0, 0, 0)
    job = _imported(a_workspace(), archive)
    assert job.problem["code"] == "archive_refused"
