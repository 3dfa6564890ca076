"""Any text is refused as a path or has one form; any order of changes leaves a tree."""

import unicodedata

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ideplatform.kit.errors import PlatformError
from tests.factories import a_workspace, an_actor
from workspaces import paths
from workspaces.errors import InvalidPath
from workspaces.models import Blob, FileNode, FileVersionRow, OrganizationStorage, Workspace
from workspaces.services import files, trees
from workspaces.types import Origin

_NASTY = st.sampled_from(
    ["..", ".", ".git", "git~1", "CON", "a", "A", "é", "e\u0301", "\u200d", " ", "ß", "\\", "\0"]
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(_NASTY, st.text(max_size=8)), max_size=6).map("/".join),
    st.lists(_NASTY, max_size=6).map("".join),
)


def _parsed(text):
    try:
        return paths.parse(text)
    except InvalidPath:
        return None


@settings(max_examples=500)
@given(TEXTS)
def test_normalising_twice_is_normalising_once(text):
    place = _parsed(text)
    if place is not None:
        assert paths.parse(place.path) == place


@settings(max_examples=500)
@given(TEXTS)
def test_composition_decides_nothing(text):
    forms = [_parsed(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")]
    assert forms[0] == forms[1] or None in forms  # the decomposed form may be too long


@settings(max_examples=500)
@given(TEXTS)
def test_an_accepted_path_cannot_leave_its_root(text):
    place = _parsed(text)
    if place is not None:
        segments = place.path.split("/")
        assert all(segment not in {"", ".", ".."} for segment in segments)
        assert not {"\\", "\0"} & set(place.path)
        assert len(place.path.encode()) <= 1_024
        assert place.folded.count("/") == place.path.count("/")
        assert [above.path for above in place.ancestors()] == [
            "/".join(segments[:count]) for count in range(1, len(segments))
        ]


@settings(max_examples=500)
@given(TEXTS)
def test_case_never_tells_two_places_apart(text):
    place, lower = _parsed(text), _parsed(text.casefold())
    if place is not None and lower is not None:
        assert place.folded == lower.folded


_PATHS = st.lists(st.sampled_from(["a", "b", "B", "c"]), min_size=1, max_size=3).map("/".join)
_STEPS = st.one_of(
    st.tuples(st.just("write"), _PATHS, st.text("xyz", max_size=5)),
    st.tuples(st.just("directory"), _PATHS, st.just("")),
    st.tuples(st.just("move"), _PATHS, _PATHS),
    st.tuples(st.just("delete"), _PATHS, st.sampled_from(["", "recursive"])),
)


@pytest.mark.django_db
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEPS, max_size=12))
def test_any_order_of_changes_leaves_a_tree_with_exact_counters(steps):
    with transaction.atomic():
        workspace = a_workspace()
        for step in steps:
            before = _ids(workspace)
            try:
                with transaction.atomic():
                    _take(workspace, step)
            except PlatformError:
                assert _ids(workspace) == before
            _check(workspace, step, before)
        transaction.set_rollback(True)


def _take(workspace, step):
    kind, path, value = step
    common = {"actor": an_actor(workspace.owner), "workspace_id": workspace.pk}
    match kind:
        case "write":
            files.write_text(**common, path=path, text=value, base_version=None, origin=Origin.REST)
        case "directory":
            trees.create_directory(**common, path=path)
        case "move":
            trees.move(**common, source=path, target=value)
        case "delete":
            trees.delete(**common, path=path, recursive=bool(value))


def _ids(workspace):
    return dict(FileNode.objects.filter(workspace=workspace).values_list("pk", "path"))


def _check(workspace, step, before):
    nodes = list(FileNode.objects.filter(workspace=workspace))
    directories = {node.path for node in nodes if node.kind == "directory"}
    for node in nodes:
        place = paths.parse(node.path)
        assert node.folded_path == place.folded
        assert node.depth == place.depth
        assert {above.path for above in place.ancestors()} <= directories
    workspace = Workspace.objects.get(pk=workspace.pk)
    assert workspace.file_count == len(nodes)
    assert workspace.bytes_used == sum(node.size for node in nodes)
    if step[0] == "move":
        assert before.keys() <= {node.pk for node in nodes}
    current = FileVersionRow.objects.filter(file__workspace=workspace)
    assert {row.file_id for row in current} == {n.pk for n in nodes if n.kind == "file"}
    stored = Blob.objects.filter(organization=workspace.organization)
    charged = OrganizationStorage.objects.filter(organization=workspace.organization)
    assert (stored.aggregate(n=Sum("size"))["n"] or 0) == sum(
        charged.values_list("bytes_used", flat=True)
    )
