"""One problem object for every failure."""

from __future__ import annotations

import msgspec
import pytest
from rest_framework import exceptions

from ideplatform.kit import errors, problems, rest


def test_a_problem_names_what_was_wrong_and_where():
    error = errors.InvalidInput(errors=[errors.Pointer(pointer="/name", detail="too long")])
    assert problems.of(error, request_id="r-1") == {
        "type": "/problems/invalid_input",
        "title": "The input is not valid",
        "status": 422,
        "code": "invalid_input",
        "detail": "The input is not valid",
        "retryable": False,
        "errors": [{"pointer": "/name", "detail": "too long"}],
        "request_id": "r-1",
    }


def test_the_internal_problem_tells_the_request_id_only():
    body = problems.internal(request_id="r-1")
    assert body["status"] == 500
    assert body["request_id"] == "r-1"


def test_codes_are_unique():
    codes = [cls.code for cls in errors.registered()]
    assert sorted(codes) == sorted(set(codes))


def test_nested_faults_become_json_pointers():
    detail = {"items": [{}, {"a/b": ["bad"]}], "non_field_errors": ["both"], "x": ["one", "two"]}
    found = [(p.pointer, p.detail) for p in rest.pointers(detail)]
    assert found == [("/items/1/a~1b", "bad"), ("", "both"), ("/x", "one"), ("/x", "two")]


@pytest.mark.parametrize(
    ("theirs", "code"),
    [
        (exceptions.ParseError(), "malformed_request"),
        (exceptions.NotAuthenticated(), "unauthenticated"),
        (exceptions.PermissionDenied(), "forbidden"),
        (exceptions.NotFound(), "not_found"),
        (exceptions.MethodNotAllowed("GET"), "method_not_allowed"),
        (exceptions.UnsupportedMediaType("x/y"), "unsupported_media_type"),
    ],
)
def test_errors_of_the_framework_speak_our_codes(theirs, code):
    ours = rest.platform_error(theirs)
    assert ours is not None
    assert ours.code == code


def test_an_unexpected_failure_is_not_translated():
    assert rest.platform_error(RuntimeError("a secret")) is None


def test_retry_after_is_sent_as_a_header():
    response = rest.problem_response(errors.TooManyRequests(retry_after_s=7))
    assert response.status_code == 429
    assert response["Retry-After"] == "7"
    assert msgspec.json.decode(response.content)["retry_after_s"] == 7
