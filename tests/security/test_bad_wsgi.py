"""The WSGI group has the same guards before the same application."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.inprocess import Answer
from tests.security import attacks

MIB = 1024 * 1024


def _send(path: str, *, query: str = "", length: str = "", body: bytes = b"") -> Answer:
    from ideplatform.wsgi import application

    heads: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": length or str(len(body)),
        "CONTENT_TYPE": "application/json",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
    }
    parts = application(environ, lambda status, headers: heads.extend((status, headers)))
    content = b"".join(parts)
    status, headers = heads
    return Answer(int(status[:3]), {name.lower(): value for name, value in headers}, content)


@pytest.mark.parametrize(
    ("path", "query", "length", "status"),
    [
        ("/api/v1/a\0b", "", "", 400),
        ("/api/v1/\udcff", "", "", 400),
        ("/api/v1/auth/login", "q=%00", "", 400),
        ("/api/v1/auth/login", "q=%ff", "", 400),
        ("/api/v1/auth/login", "q=%zz", "", 400),
        ("/api/v1/auth/login", "", "-1", 400),
        ("/api/v1/auth/login", "", "two", 400),
        ("/api/v1/auth/login", "", str(MIB + 1), 413),
        ("/api/v1/auth/login", "", "9" * 400, 413),
        ("/api/v1/nowhere", "", "", 404),
    ],
)
def test_what_no_parser_should_see_is_refused(path: str, query: str, length: str, status: int):
    answer = _send(path, query=query, length=length)
    assert answer.status == status
    assert attacks.faults_of_refusal(answer) == []


def test_a_percent_sign_in_a_path_is_a_character(db):
    assert _send("/api/v1/100%").status == 404


def test_the_application_stands_behind_it(db):
    assert _send("/api/v1/auth/login", body=b"{}").status == 422
