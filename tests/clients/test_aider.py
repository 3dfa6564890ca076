"""aider: whole files in words, no tools, and usage never asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients import runner
from tests.clients.runner import Site

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


def test_it_writes_a_file(site: Site, vendor: str, tmp_path: Path):
    done = runner.writes_a_file(site, "aider", vendor=vendor, place=tmp_path)
    (call,) = done.of("/v1/chat/completions")
    assert b"stream_options" not in call.body
    assert b'"usage"' in call.answer
