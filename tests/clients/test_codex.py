"""Codex CLI: responses without storage, tools in namespaces, a shell instead of file tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import runner
from tests.clients.runner import Site

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


def test_it_writes_a_file(site: Site, vendor: str, tmp_path: Path):
    done = runner.writes_a_file(site, "Codex CLI", vendor=vendor, place=tmp_path)
    calls = done.of("/v1/responses")
    assert len(calls) == 3
    assert len({one.headers["session-id"] for one in calls}) == 1
