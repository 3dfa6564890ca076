"""Generated requests, right and wrong by the published schema: no 5xx, no undocumented answer.

The gate sends a seeded share to every operation; `make full` sends far more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from tests import inprocess, operations
from tests.operations import Documented, Stage
from tests.security import attacks

pytestmark = pytest.mark.django_db
schemathesis.serializer.alias("application/zip", "application/octet-stream")
SHARE, SCALE = 3, 250
# Streams read on other connections, which see committed rows only (see `test_bad_wire`).
GENERATED = [
    one
    for one in operations.every()
    if one.id not in attacks.SLOW | {"download_file", "export_files"}
]
MODES = [
    (one, mode)
    for one in GENERATED
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or one.spec.get("parameters") or one.content
]


@functools.cache
def _schema() -> Any:
    return schemathesis.openapi.from_dict(operations.document())


@pytest.mark.parametrize(("one", "mode"), MODES, ids=lambda it: getattr(it, "value", str(it)))
def test_a_share_of_generated_requests(one: Documented, mode: GenerationMode):
    _explore(one, mode, SHARE)


@pytest.mark.scale
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("one", "mode"), MODES, ids=lambda it: getattr(it, "value", str(it)))
def test_many_generated_requests(one: Documented, mode: GenerationMode):
    _explore(one, mode, SCALE)


def _explore(one: Documented, mode: GenerationMode, examples: int) -> None:
    stage = operations.stage()
    strategy = _schema().find_operation_by_id(one.id).as_strategy(generation_mode=mode)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def check(case: Any) -> None:
        answer = _sent(stage, one, case)
        assert attacks.faults_of_any(answer) == [], case.as_curl_command()
        assert str(answer.status) in one.spec["responses"], (answer.status, answer.body[:300])

    run: Callable[[], None] = check
    run()


def _sent(stage: Stage, one: Documented, case: Any) -> inprocess.Answer:
    """The generated query, headers and body at what is there, by somebody who may do it."""
    base = stage.request(one)
    case.path_parameters = {name: stage.value(one, name) for name in one.names}
    if isinstance(case.body, dict) and case.body.get("wait_s"):
        case.body["wait_s"] = 0  # nobody executes runs here
    parts = case.as_transport_kwargs(base_url="http://testserver")
    known = {"method", "url", "params", "headers", "cookies", "data", "json", "files"}
    prepared = requests.Request(**{k: v for k, v in parts.items() if k in known}).prepare()
    credentials = {k: v for k, v in base.headers.items() if k in {"Authorization", "Cookie"}}
    headers = {k: _text(v) for k, v in prepared.headers.items()} | credentials
    if one.id in operations.BY_COOKIE:
        headers |= stage.cookie
    body = prepared.body or b""
    assert isinstance(body, str | bytes)
    return attacks.attempt(
        _Raw(
            method=one.method,
            path=prepared.path_url,
            headers=headers,
            body=body.encode() if isinstance(body, str) else body,
        )
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class _Raw(operations.Request):
    """A target that is complete already."""

    @property
    def target(self) -> str:
        return self.path
