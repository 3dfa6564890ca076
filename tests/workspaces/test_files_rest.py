"""Files over REST: conditions, representations, refusals that change nothing."""

import base64
import hashlib

import pytest

from ideplatform.outbox.models import Fact
from tests.factories import a_workspace
from tests.workspaces.rest import Caller
from workspaces.models import FileNode, FileVersionRow

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return a_workspace()


@pytest.fixture
def files(workspace):
    caller = Caller(workspace.owner, workspace)

    def send(method, path, body=None, **options):
        return caller.send(method, "/files" + path, body, **options)

    return send


def _state():
    return (
        list(FileNode.objects.order_by("pk").values()),
        list(FileVersionRow.objects.order_by("pk").values()),
        Fact.objects.count(),
    )


def test_a_file_is_created_read_and_changed(files):
    made = files("PUT", "/content?path=src/a.py", {"content": "x = 1\n"}, If_None_Match="*")
    assert (made.status_code, made["ETag"]) == (201, '"v1"')
    assert made.json()["path"] == "src/a.py"

    read = files("GET", "/content?path=src/a.py")
    assert read.json() == {
        "file_id": made.json()["file_id"],
        "path": "src/a.py",
        "version": 1,
        "sha256": hashlib.sha256(b"x = 1\n").hexdigest(),
        "encoding": "utf-8",
        "content": "x = 1\n",
    }
    assert read.json()["file_id"].startswith("wsf_")

    changed = files("PUT", "/content?path=src/a.py", {"content": "x = 2\n"}, If_Match='"v1"')
    assert (changed.status_code, changed["ETag"], changed.json()["version"]) == (200, '"v2"', 2)
    again = files("GET", f"/content?file_id={made.json()['file_id']}")
    assert again.json()["content"] == "x = 2\n"
    old = files("GET", "/content?path=src/a.py&version=1")
    assert old.json()["content"] == "x = 1\n"


def test_a_write_without_a_version_is_refused(files):
    before = _state()
    answer = files("PUT", "/content?path=a.txt", {"content": "x"})
    assert (answer.status_code, answer.json()["code"]) == (428, "version_required")
    assert _state() == before


def test_a_stale_write_is_refused_with_what_is_current(files):
    files("PUT", "/content?path=a.txt", {"content": "one"}, If_None_Match="*")
    two = files("PUT", "/content?path=a.txt", {"content": "two"}, If_Match='"v1"').json()
    before = _state()
    answer = files("PUT", "/content?path=a.txt", {"content": "three"}, If_Match='"v1"')
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_version")
    assert answer.json()["current"] == {
        "file_id": two["file_id"],
        "path": "a.txt",
        "version": 2,
        "sha256": two["sha256"],
        "size": 3,
    }
    assert _state() == before


@pytest.mark.parametrize("header", ['"v1"', '"v999999999"'])
def test_a_version_of_what_is_not_there_is_stale(files, header):
    answer = files("PUT", "/content?path=a.txt", {"content": "x"}, If_Match=header)
    assert (answer.status_code, answer.json()["current"]) == (409, None)
    assert not FileNode.objects.exists()


def test_creating_what_exists_is_refused(files):
    files("PUT", "/content?path=a.txt", {"content": "one"}, If_None_Match="*")
    before = _state()
    answer = files("PUT", "/content?path=a.txt", {"content": "two"}, If_None_Match="*")
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_version")
    assert _state() == before


@pytest.mark.parametrize(
    "headers",
    [
        {"If_Match": '"v1"', "If_None_Match": "*"},
        {"If_None_Match": '"v1"'},
        {"If_Match": "v1"},
        {"If_Match": 'W/"v1"'},
        {"If_Match": '"v0"'},
        {"If_Match": '"v1", "v2"'},
        {"If_Match": '"v9999999999"'},
        {"If_Match": "*"},
    ],
)
def test_an_unclear_condition_is_refused(files, headers):
    files("PUT", "/content?path=a.txt", {"content": "one"}, If_None_Match="*")
    before = _state()
    answer = files("PUT", "/content?path=a.txt", {"content": "two"}, **headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert _state() == before


def test_the_same_content_makes_no_version_and_tells_nobody(files):
    files("PUT", "/content?path=a.txt", {"content": "one"}, If_None_Match="*")
    before = _state()
    answer = files("PUT", "/content?path=a.txt", {"content": "one"}, If_Match='"v1"')
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert _state() == before


def test_a_repeated_request_gives_the_same_version(files):
    request = {"If_None_Match": "*", "Idempotency_Key": "key-1"}
    first = files("PUT", "/content?path=a.txt", {"content": "one"}, **request)
    files("PUT", "/content?path=a.txt", {"content": "two"}, If_Match='"v1"')
    before = _state()
    again = files("PUT", "/content?path=a.txt", {"content": "one"}, **request)
    assert again.json() == first.json()
    other = files("PUT", "/content?path=a.txt", {"content": "other"}, **request)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert _state() == before


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_cannot_be_kept_is_refused(files, key):
    answer = files(
        "PUT", "/content?path=a.txt", {"content": "x"}, If_None_Match="*", Idempotency_Key=key
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/Idempotency-Key"
    assert not FileNode.objects.exists()


def test_raw_bytes_are_kept_as_they_are(files):
    content = bytes(range(256))
    made = files(
        "PUT",
        "/content?path=a.bin",
        content,
        content_type="application/octet-stream",
        If_None_Match="*",
    )
    assert made.status_code == 201
    as_json = files("GET", "/content?path=a.bin").json()
    assert (as_json["encoding"], base64.b64decode(as_json["content"])) == ("base64", content)
    raw = files("GET", "/content?path=a.bin", Accept="application/octet-stream")
    assert (raw.content, raw["Content-Type"]) == (content, "application/octet-stream")
    assert raw["ETag"] == '"v1"'


def test_html_is_never_served_as_html(files):
    files("PUT", "/content?path=a.html", {"content": "<script>1</script>"}, If_None_Match="*")
    raw = files("GET", "/content?path=a.html", Accept="text/plain")
    assert raw["Content-Type"] == "text/plain; charset=utf-8"
    assert raw["X-Content-Type-Options"] == "nosniff"
    assert files("GET", "/content?path=a.html", Accept="text/html").status_code == 406
    download = files("GET", "/download?path=a.html", Accept="text/html")
    assert download["Content-Type"] == "application/octet-stream"
    assert download["Content-Disposition"] == 'attachment; filename="a.html"'


def test_an_unchanged_file_is_not_sent_again(files):
    files("PUT", "/content?path=a.txt", {"content": "one"}, If_None_Match="*")
    answer = files("GET", "/content?path=a.txt", If_None_Match='"v0", "v1"')
    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", '"v1"')
    assert files("GET", "/content?path=a.txt", If_None_Match='"v2"').status_code == 200


def test_base64_content_is_decoded(files):
    body = {"content": base64.b64encode(b"\0\xff").decode(), "encoding": "base64"}
    assert files("PUT", "/content?path=a.bin", body, If_None_Match="*").json()["size"] == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/content"),
        ({"content": 1.5, "mode": 1}, "/mode"),
        ({"content": "x", "encoding": "latin-1"}, "/encoding"),
        ({"content": "not base64!", "encoding": "base64"}, "/content"),
        ({"content": None}, "/content"),
        ({"content": ["x"]}, "/content"),
    ],
)
def test_a_wrong_body_is_named_and_changes_nothing(files, body, pointer):
    answer = files("PUT", "/content?path=a.txt", body, If_None_Match="*")
    assert answer.status_code == 422
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}
    assert not FileNode.objects.exists()


@pytest.mark.parametrize("body", [b"[", b"[]", b'"x"', b"nul", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(files, body):
    answer = files("PUT", "/content?path=a.txt", body, If_None_Match="*")
    assert 400 <= answer.status_code < 500
    assert not FileNode.objects.exists()


def test_json_content_has_its_own_limit(files):
    large = "x" * (2 * 1024 * 1024 + 1)
    answer = files("PUT", "/content?path=a.txt", {"content": large}, If_None_Match="*")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert not FileNode.objects.exists()
    raw = files(
        "PUT", "/content?path=a.txt", large.encode(), content_type="text/plain", If_None_Match="*"
    )
    assert raw.status_code == 201
    assert files("GET", "/content?path=a.txt").status_code == 413
    assert len(files("GET", "/content?path=a.txt", Accept="text/plain").content) == len(large)


def test_a_file_over_the_limit_is_refused(files):
    answer = files("POST", "/upload?path=a.bin", b"x" * (16 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
    assert not FileNode.objects.exists()


def test_a_file_at_the_limit_goes_up_and_comes_down_in_pieces(files):
    content = b"0123456789abcdef" * (1024 * 1024)
    made = files("POST", "/upload?path=a.bin", content, content_type="image/png")
    assert (made.status_code, made.json()["size"]) == (201, 16 * 1024 * 1024)
    download = files("GET", "/download?path=a.bin")
    pieces = list(download.streaming_content)
    assert [len(piece) for piece in pieces] == [1024 * 1024] * 16
    assert b"".join(pieces) == content
    assert download["Content-Length"] == str(len(content))


def test_an_upload_without_a_condition_replaces_nothing(files):
    files("POST", "/upload?path=a.bin", b"one")
    before = _state()
    answer = files("POST", "/upload?path=a.bin", b"two")
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_version")
    assert _state() == before
    assert files("POST", "/upload?path=a.bin", b"two", If_Match='"v1"').status_code == 200


def test_an_empty_file_is_a_file(files):
    made = files("POST", "/upload?path=empty", b"")
    assert (made.status_code, made.json()["size"]) == (201, 0)
    assert files("GET", "/content?path=empty").json()["content"] == ""


@pytest.mark.parametrize(
    "query",
    ["", "?path=a.txt&file_id=wsf_00000000000000000000000000", "?path=", "?path=a.txt&version=0",
     "?path=a.txt&version=x", "?path=a.txt&version=99999999999"],
)  # fmt: skip
def test_an_unclear_target_is_refused(files, query):
    files("POST", "/upload?path=a.txt", b"one")
    assert files("GET", "/content" + query).status_code == 422


@pytest.mark.parametrize(
    "query",
    ["?path=b.txt", "?path=A.txt", "?path=dir", "?file_id=wsf_7zzzzzzzzzzzzzzzzzzzzzzzzz",
     "?file_id=x", "?path=a.txt&version=2"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(files, query):
    files("POST", "/upload?path=a.txt", b"one")
    files("POST", "/directories", {"path": "dir"})
    assert files("GET", "/content" + query).status_code == 404


def test_a_file_of_another_workspace_is_not_found_by_its_id(files, workspace):
    other = a_workspace(workspace.owner)
    theirs = Caller(workspace.owner, other).send("POST", "/files/upload?path=a.txt", b"x").json()
    assert files("GET", f"/content?file_id={theirs['file_id']}").status_code == 404
    assert files("GET", f"/download?file_id={theirs['file_id']}").status_code == 404
    assert files("GET", f"/versions?file_id={theirs['file_id']}").status_code == 404


def test_versions_are_listed_newest_first_and_restored_as_a_new_one(files):
    files("PUT", "/content?path=a.txt", {"content": "one"}, If_None_Match="*")
    files("PUT", "/content?path=a.txt", {"content": "two"}, If_Match='"v1"')
    restored = files("POST", "/restore", {"path": "a.txt", "version": 1}, If_Match='"v2"')
    assert (restored.status_code, restored.json()["version"]) == (200, 3)
    page = files("GET", "/versions?path=a.txt&limit=2").json()
    assert [(row["version"], row["origin"]) for row in page["items"]] == [
        (3, "restore"),
        (2, "rest"),
    ]
    rest = files("GET", f"/versions?path=a.txt&limit=2&cursor={page['next_cursor']}").json()
    assert [row["version"] for row in rest["items"]] == [1]
    assert rest["next_cursor"] == ""
    assert files("GET", "/content?path=a.txt").json()["content"] == "one"
    stale = files("POST", "/restore", {"path": "a.txt", "version": 2}, If_Match='"v2"')
    assert stale.status_code == 409


def test_the_tree_is_paged_in_path_order(files):
    for path in ["b.txt", "a/x.txt", "a/y/z.txt", "a.txt"]:
        files("POST", f"/upload?path={path}", b"x")
    whole = files("GET", "/tree?depth=3").json()
    assert [row["path"] for row in whole["items"]] == [
        "a", "a.txt", "a/x.txt", "a/y", "a/y/z.txt", "b.txt",
    ]  # fmt: skip
    assert [row["path"] for row in files("GET", "/tree").json()["items"]] == [
        "a", "a.txt", "b.txt",
    ]  # fmt: skip
    below = files("GET", "/tree?path=a").json()["items"]
    assert [(row["path"], row["kind"]) for row in below] == [
        ("a/x.txt", "file"),
        ("a/y", "directory"),
    ]
    found, cursor = [], ""
    for _ in range(3):
        page = files("GET", f"/tree?depth=3&limit=2&cursor={cursor}").json()
        found += [row["path"] for row in page["items"]]
        cursor = page["next_cursor"]
    assert (found, cursor) == ([row["path"] for row in whole["items"]], "")


@pytest.mark.parametrize(
    ("query", "status"),
    [("?path=missing", 404), ("?path=a.txt", 404), ("?depth=0", 422), ("?depth=33", 422),
     ("?limit=1001", 422), ("?cursor=x", 422), ("?path=../a", 422)],
)  # fmt: skip
def test_a_tree_of_nothing_is_refused(files, query, status):
    files("POST", "/upload?path=a.txt", b"x")
    assert files("GET", "/tree" + query).status_code == status


def test_a_cursor_opens_no_other_list(files):
    for number in range(3):
        files("POST", f"/upload?path=a/{number}", b"x")
    cursor = files("GET", "/tree?path=a&limit=1").json()["next_cursor"]
    answer = files("GET", f"/tree?limit=1&cursor={cursor}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/cursor")


def test_moving_and_deleting(files):
    made = files("POST", "/upload?path=src/a.py", b"x").json()
    moved = files("POST", "/move", {"from": "src", "to": "lib/src"})
    assert (moved.status_code, moved.json()["path"]) == (200, "lib/src")
    assert files("GET", f"/content?file_id={made['file_id']}").json()["path"] == "lib/src/a.py"
    refused = files("DELETE", "/content?path=lib")
    assert (refused.status_code, refused.json()["code"]) == (409, "directory_not_empty")
    stale = files("DELETE", "/content?path=lib/src/a.py", If_Match='"v2"')
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_version")
    assert files("DELETE", "/content?path=lib&recursive=1").status_code == 204
    assert not FileNode.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [({"from": "a", "to": "a/b"}, 422), ({"from": "a", "to": "c.txt"}, 409),
     ({"from": "a", "to": "C.txt"}, 409), ({"from": "a", "to": "c.txt/x"}, 409),
     ({"from": "a", "to": "a"}, 409), ({"from": "b", "to": "x"}, 404),
     ({"from": "A", "to": "x"}, 404), ({"from": "a", "to": "../x"}, 422), ({"from": "a"}, 422),
     ({"from": "a", "to": "x", "force": True}, 422),
     ({"from": "a", "to": "/".join("x" * 32)}, 422),
     ({"from": "a", "to": "/".join(["y" * 203] * 5)}, 422)],
)  # fmt: skip
def test_a_move_that_cannot_be_changes_nothing(files, body, status):
    files("POST", "/upload?path=a/inner.txt", b"x")
    files("POST", "/upload?path=c.txt", b"x")
    before = _state()
    assert files("POST", "/move", body).status_code == status
    assert _state() == before


def test_a_directory_may_be_respelt(files):
    made = files("POST", "/upload?path=Src/a.py", b"x").json()
    assert files("POST", "/move", {"from": "Src", "to": "src"}).json()["path"] == "src"
    assert files("GET", "/content?path=src/a.py").json()["file_id"] == made["file_id"]
