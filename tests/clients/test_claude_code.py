"""Claude Code: messages with untyped tools, context management, a session of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import runner
from tests.clients.runner import Site

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


def test_it_writes_a_file(site: Site, vendor: str, tmp_path: Path):
    done = runner.writes_a_file(site, "Claude Code", vendor=vendor, place=tmp_path)
    calls = done.of("/v1/messages")
    assert len(calls) == 3
    assert len({one.headers["x-claude-code-session-id"] for one in calls}) == 1
