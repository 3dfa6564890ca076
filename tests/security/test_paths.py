"""Paths that some file system, editor or Git would read as something else are refused."""

import pytest
from django.db import connection

from tests.factories import a_workspace, an_actor
from workspaces import paths
from workspaces.errors import InvalidPath, PathCollision
from workspaces.models import FileNode
from workspaces.services import files, trees
from workspaces.types import NEW_FILE, Origin

REFUSED = [
    "",
    "/",
    "/etc/passwd",
    "a//b",
    "a/",
    "//server/share",
    ".",
    "..",
    "a/.",
    "a/..",
    "../a",
    "a/../../b",
    "...",
    "\u200d..",
    ".\u200d.",
    "\u200d",
    "a\\b",
    "..\\a",
    "C:",
    "C:/a",
    "c:a",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "a\x85b",
    "a\u2028b",
    "a\u202eb",
    "a\u2066b",
    "a\u200fb",
    "a\ufffeb",
    "a\ufdd0b",
    "a\U0001ffffb",
    "a\ud800b",
    "a.",
    "a ",
    "a./b",
    "a /b",
    "a\u00a0",
    "a\u3000/b",
    "a.\u200d",
    "a \u2060",
    "con",
    "CON",
    "Con.txt",
    "nul",
    "aux.c",
    "prn ",
    "com1",
    "COM9.log",
    "com\u00b9",
    "lpt\u00b3.txt",
    "lpt0",
    "conin$",
    "CONOUT$.txt",
    "con .txt",
    "con:stream",
    "c\u200don",
    ".git",
    ".GIT",
    ".Git/config",
    "a/.git/hooks/post-checkout",
    ".git ",
    ".git.",
    ".g\u200cit",
    ".git\ufeff",
    "\u00ad.git",
    "git~1",
    "GIT~1/config",
    "git~10",
    ".git::$INDEX_ALLOCATION",
    ".git:stream",
    "x" * 256,
    "\u00e9" * 128,
    "/".join(["x"] * 33),
    "/".join(["x" * 100] * 11),
    "x" * 1_025,
    "x" * 10_000_000,
]
ACCEPTED = [
    "a",
    "README.md",
    ".gitignore",
    ".github/workflows/ci.yml",
    ".env",
    "git~",
    "gita~1",
    "src/[...slug].tsx",
    "a b/c d.txt",
    "-rf",
    "~/a",
    "$HOME",
    "%2e%2e",
    "a:b"[1:],
    "console.ts",
    "auxiliary/x",
    "com10",
    "nulls.py",
    "\u5b57\u6bcd/\u00e7\u00e3o.py",
    "\U0001f469\u200d\U0001f4bb.md",
    "x" * 255,
    "/".join(["x"] * 32),
    "/".join(["x" * 101] * 10),
]


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: ascii(path)[:40])
def test_a_path_with_two_meanings_is_refused(path):
    with pytest.raises(InvalidPath) as refused:
        paths.parse(path)
    assert refused.value.errors[0].pointer == "/path"


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: ascii(path)[:40])
def test_an_honest_path_is_kept(path):
    assert paths.parse(path).path == path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README.md", "readme.MD"),
        ("stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("\u212b", "\u00e5"),
        ("\u03c3", "\u03c2"),
        ("fi\u0301n", "F\u00cdN"),
        ("a\u200db", "ab"),
        ("so\u00adft", "soft"),
        ("\ufb01", "fi"),
        ("\u0345\u03b1", "\u03b9\u03b1"),
    ],
)
def test_two_spellings_of_one_name_fold_to_one(one, other):
    assert paths.parse(one).folded == paths.parse(other).folded


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), ("a-b", "ab"), ("\u0131", "i"), ("\u00e9", "e")]
)
def test_different_names_stay_different(one, other):
    assert paths.parse(one).folded != paths.parse(other).folded


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["Src/main.py", "src/MAIN.py", "src/main.py/x", "SRC"])
def test_a_colliding_write_changes_nothing(path):
    workspace = a_workspace()
    _write(workspace, "src/main.py")
    before = list(FileNode.objects.order_by("path").values())
    with pytest.raises(PathCollision):
        _write(workspace, path)
    with pytest.raises(PathCollision):
        trees.create_directory(
            actor=an_actor(workspace.owner), workspace_id=workspace.pk, path="src/main.py"
        )
    assert list(FileNode.objects.order_by("path").values()) == before


@pytest.mark.django_db
def test_the_longest_folded_path_fits_its_unique_index():
    """U+0587 folds to two letters, so the folded path has twice the bytes of the path."""
    workspace = a_workspace()
    longest = "/".join(["\u0587" * 127] * 4)
    assert len(longest.encode()) == 1_019
    version = _write(workspace, longest)
    node = FileNode.objects.get(pk=version.file_id)
    assert len(node.folded_path.encode()) == 4 * 127 * 4 + 3
    with connection.cursor() as cursor:
        cursor.execute("SELECT depth FROM file_nodes WHERE id = %s", [node.pk])
        assert cursor.fetchone() == (4,)


def _write(workspace, path):
    return files.write_text(
        actor=an_actor(workspace.owner),
        workspace_id=workspace.pk,
        path=path,
        text="x",
        base_version=NEW_FILE,
        origin=Origin.REST,
    )
