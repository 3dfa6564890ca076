"""The guide for clients says what is pinned, and nothing that a run would not use."""

from __future__ import annotations

import json
import re
from importlib.metadata import version

from tests.clients import guide, installed, recordings

NPM = {
    "@anthropic-ai/claude-code": "Claude Code",
    "@openai/codex": "Codex CLI",
    "opencode-ai": "opencode",
    "@continuedev/cli": "Continue CLI",
    "cline": "Cline CLI",
    "@qwen-code/qwen-code": "qwen-code",
    "@mariozechner/pi-coding-agent": "pi",
    "@theia/ai-openai": "Theia AI",
    "@theia/ai-anthropic": "Theia AI",
}


def _pinned() -> dict[str, str]:
    wanted = json.loads((installed.PINS / "package.json").read_text("utf-8"))["dependencies"]
    assert wanted.keys() == NPM.keys()
    found = {NPM[name]: pin for name, pin in wanted.items()}
    for name, package in (("aider", "aider-chat"), ("llm", "llm")):
        pins = (installed.PINS / f"{name}.txt").read_text("utf-8")
        (found[name],) = re.findall(rf"^{package}==(\S+)", pins, re.MULTILINE)
    return found | {f"{name} (Python)": version(name) for name in ("openai", "anthropic")}


def test_its_versions_are_those_that_are_installed():
    rows = re.findall(r"^\| ([^|]+) \| (\d[^|]*) \|", guide.PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == _pinned()


def test_every_client_has_a_section_that_runs():
    assert set(guide.names()) == set(_pinned())
    for name in guide.names():
        setup = guide.setup(name, address="http://127.0.0.1:1", key="imk_real", model="a/b")
        text = "".join([setup.script, *setup.files.values()])
        assert setup.script
        assert "http://127.0.0.1:1" in text
        assert "imk_real" in text
        for placeholder in (guide.ADDRESS, guide.KEY, guide.MODEL):
            assert placeholder not in text


def test_every_client_is_recorded():
    wanted = {f"{recordings.slug(name)}.jsonl" for name in guide.names()}
    assert {path.name for path in recordings.PLACE.glob("*.jsonl")} == wanted
