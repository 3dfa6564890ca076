"""opencode: chat completions, and a second call beside the first that names the conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import runner
from tests.clients.runner import Site

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


def test_it_writes_a_file(site: Site, vendor: str, tmp_path: Path):
    done = runner.writes_a_file(site, "opencode", vendor=vendor, place=tmp_path)
    calls = done.of("/v1/chat/completions")
    assert len(calls) == 4
    assert len({one.headers["x-session-id"] for one in calls}) == 1
