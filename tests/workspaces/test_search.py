"""Search: what is found, and what a costly pattern costs."""

import time

import pytest

from ideplatform.kit.errors import InvalidInput
from tests.factories import a_workspace, an_actor
from workspaces.services import files, search
from workspaces.services.search import Match
from workspaces.types import NEW_FILE, Origin

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return a_workspace()


def write(workspace, path, content):
    return files.write_bytes(
        actor=an_actor(workspace.owner),
        workspace_id=workspace.pk,
        path=path,
        content=content if isinstance(content, bytes) else content.encode(),
        base_version=NEW_FILE,
        origin=Origin.REST,
    )


def find(workspace, pattern, **options):
    return search.search(
        actor=an_actor(workspace.owner), workspace_id=workspace.pk, pattern=pattern, **options
    )


def places(found):
    return [(match.path, match.line, match.column, match.length) for match in found.matches]


def test_a_text_is_found_with_its_place(workspace):
    version = write(workspace, "src/a.py", "\ufeffdef função():\r\n    return Função\n")
    write(workspace, "b.py", "nothing here\n")
    found = find(workspace, "função")
    assert found.matches == [
        Match(
            file_id=version.file_id,
            path="src/a.py",
            line=1,
            column=5,
            length=6,
            text="def função():",
            offset=4,
        ),
        Match(
            file_id=version.file_id,
            path="src/a.py",
            line=2,
            column=12,
            length=6,
            text="    return Função",
            offset=11,
        ),
    ]
    assert (found.files_searched, found.is_truncated) == (2, False)
    assert places(find(workspace, "Função", is_case_sensitive=True)) == [("src/a.py", 2, 12, 6)]


def test_special_characters_are_themselves_unless_asked(workspace):
    write(workspace, "a.txt", "a.c abc\na+c\n")
    assert places(find(workspace, "a.c")) == [("a.txt", 1, 1, 3)]
    assert places(find(workspace, r"^a[.+]c", is_regex=True)) == [
        ("a.txt", 1, 1, 3),
        ("a.txt", 2, 1, 3),
    ]


def test_only_the_current_version_under_the_path_counts(workspace):
    write(workspace, "src/a.txt", "needle")
    write(workspace, "other/b.txt", "needle")
    files.write_text(
        actor=an_actor(workspace.owner),
        workspace_id=workspace.pk,
        path="src/a.txt",
        text="hay",
        base_version=1,
        origin=Origin.REST,
    )
    assert places(find(workspace, "needle")) == [("other/b.txt", 1, 1, 6)]
    assert places(find(workspace, "needle", path="src")) == []
    assert places(find(workspace, "needle", path="other/b.txt")) == [("other/b.txt", 1, 1, 6)]


def test_binary_and_very_large_files_are_passed_over(workspace):
    write(workspace, "a.bin", b"\0needle")
    write(workspace, "large.txt", "needle\n" + "x" * (2 * 1024 * 1024))
    found = find(workspace, "needle")
    assert (found.matches, found.files_searched) == ([], 0)


def test_at_most_a_thousand_matches_are_given(workspace):
    write(workspace, "a.txt", "x\n" * 999)
    write(workspace, "b.txt", "x\n" * 2)
    found = find(workspace, "x")
    assert (len(found.matches), found.is_truncated) == (1_000, True)


def test_exactly_a_thousand_matches_are_not_truncated(workspace):
    write(workspace, "a.txt", "x\n" * 1_000)
    found = find(workspace, "x")
    assert (len(found.matches), found.is_truncated) == (1_000, False)


def test_a_long_line_is_cut_around_the_match(workspace):
    write(workspace, "a.txt", "y" * 5_000 + "needle" + "z" * 5_000)
    (match,) = find(workspace, "needle").matches
    assert (match.column, len(match.text)) == (5_001, 400)
    assert match.text[match.offset : match.offset + match.length] == "needle"


@pytest.mark.parametrize("pattern", ["(", "[a", "(?P<x", "*", "(?<=a+)b", "a{999999999999}"])
def test_a_pattern_that_is_none_is_named(workspace, pattern):
    write(workspace, "a.txt", "x")
    with pytest.raises(InvalidInput) as refused:
        find(workspace, pattern, is_regex=True)
    assert refused.value.errors[0].pointer == "/q"


@pytest.mark.parametrize("pattern", ["", "x" * 1_001])
def test_a_pattern_of_no_length_or_too_much_is_refused(workspace, pattern):
    with pytest.raises(InvalidInput):
        find(workspace, pattern)


def test_a_pattern_that_never_ends_is_ended(workspace):
    write(workspace, "a.txt", "a" * 50 + "!")
    began = time.monotonic()
    found = find(workspace, r"(a+)+$", is_regex=True)
    assert (found.matches, found.is_truncated) == ([], True)
    assert time.monotonic() - began < search.WALL_S
