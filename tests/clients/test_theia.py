"""Theia's own language models: both OpenAI dialects and Anthropic's, and the usage they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients import runner
from tests.clients.runner import Site

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
MODELS = ["mundial/chat", "mundial/responses", "mundial/messages"]


def test_it_writes_a_file_and_shows_usage(site: Site, vendor: str, tmp_path: Path):
    done = runner.writes_a_file(site, "Theia AI", vendor=vendor, place=tmp_path)
    heard = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    assert [one["model"] for one in heard] == MODELS
    for one in heard:
        assert one["text"].startswith("I changed `notes.md`")
        assert len(one["usage"]) >= 1
        assert all(count > 0 for pair in one["usage"] for count in pair)
