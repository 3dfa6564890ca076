"""Files through the real server: bodies without a length, downloads in pieces."""

import http.client
import io
import zipfile
from urllib.parse import urlsplit

import pytest

from accounts.services import sessions
from tests.factories import a_workspace
from tests.workspaces.archives import an_archive
from workspaces.models import FileNode
from workspaces.services import imports

MIB = 1024 * 1024


class Wire:
    """One connection to the server, with a person's access token."""

    def __init__(self, url, workspace):
        pair = sessions.sign_in(user=workspace.owner, ip="", user_agent="test")
        self._address = urlsplit(url).netloc
        self._base = f"/api/v1/workspaces/{workspace.pk}/files"
        self._headers = {"Authorization": f"Bearer {pair.access}"}

    def send(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self._address, timeout=30)
        sent = self._headers | {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            connection.request(
                method,
                self._base + path,
                body=body,
                headers=sent,
                encode_chunked=not isinstance(body, bytes | None),
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def begin(self, method, path, *chunks, **headers):
        """Send a request's head and some chunks of its body; what reads the answer's status."""
        connection = http.client.HTTPConnection(self._address, timeout=30)
        connection.putrequest(method, self._base + path)
        for name, value in {**self._headers, **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        for chunk in chunks:
            connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))

        def status():
            try:
                return connection.getresponse().status
            finally:
                connection.close()

        return status


@pytest.fixture
def workspace(live_web):
    return a_workspace()


@pytest.fixture
def wire(live_web, workspace):
    return Wire(live_web.url, workspace)


def test_a_body_without_a_length_arrives_whole_and_goes_out_whole(wire):
    pieces = [bytes([number]) * MIB for number in range(3)]
    status, _, _ = wire.send("POST", "/upload?path=a.bin", iter(pieces))
    assert status == 201
    status, headers, content = wire.send("GET", "/download?path=a.bin")
    assert (status, headers["Content-Length"]) == (200, str(3 * MIB))
    assert content == b"".join(pieces)


def test_an_archive_goes_in_and_comes_out(wire):
    files = {f"src/{number}.txt": f"content {number}" * 100 for number in range(50)}
    status, headers, _ = wire.send("POST", "/import", iter([an_archive(files)]))
    assert status == 202
    imports.run(job_id=headers["Location"].rpartition("/")[2])
    status, headers, content = wire.send("GET", "/export", Accept="application/zip")
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert found == {**files, "src/": ""}


def test_a_body_that_says_it_is_over_the_limit_is_refused_unread(wire):
    status = wire.begin("POST", "/upload?path=a", Content_Length=str(16 * MIB + 1))
    assert status() == 413
    assert not FileNode.objects.exists()


def test_a_body_without_a_length_is_refused_at_the_first_byte_over_the_limit(wire):
    """The client never says that its body ends: the answer comes all the same."""
    status = wire.begin(
        "POST", "/upload?path=a", *[b"x" * MIB] * 16, b"x", Transfer_Encoding="chunked"
    )
    assert status() == 413
    assert not FileNode.objects.exists()


@pytest.mark.parametrize("path", ["a%00b", "%ff", "%ed%a0%80", "a%5cb", "..%2fa", "%2fetc"])
def test_a_path_that_is_none_is_refused_at_the_edge(wire, path):
    status, _, _ = wire.send("POST", f"/upload?path={path}", b"x")
    assert status in {400, 422}
    assert not FileNode.objects.exists()
