"""What clients really send, kept small: `tests/providers/gateway/recorded/<client>.jsonl`.

`make clients` writes these files; `tests/providers/gateway/test_recorded.py` sends them through the
gateway in every run of the suite. Long texts (the clients' own instructions) are cut, what
belongs to one machine is replaced, and no credential is kept.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.clients import answers, guide
from tests.clients.recorder import Exchange

PLACE = Path(__file__).resolve().parents[1] / "providers" / "gateway" / "recorded"
HOME, PROJECT = "/home/ada", "/home/ada/project"
_KEPT_HEADERS = re.compile(
    r"accept|anthropic-.*|content-type|openai-.*|session.id|session_id|thread-id|user-agent"
    r"|x-(?!api-key|stainless|codex-turn-metadata|forwarded).*"
)
_WHOLE = {"arguments", "signature", "thinking", "encrypted_content", "input_text", "partial_json"}
"""Members that mean something to the other side as they are."""
_LONGEST, _HEAD, _TAIL, _ABOUT = 400, 160, 60, 60


def write(client: str, exchanges: list[Exchange], *, model: str, place: Path) -> None:
    """Keep a client's calls; one JSON object a line: the request, and what it was answered.

    `place` is the folder that the client's home and project lay in.
    """
    shown = {
        str(place / "project"): PROJECT,
        str(place / "home"): HOME,
        model: guide.MODEL,
        _escaped(model): _escaped(guide.MODEL),
        platform.release(): "6.1.0",
    }
    lines = [_line(one, shown) for one in exchanges]
    PLACE.mkdir(exist_ok=True)
    body = "".join(f"{line}\n" for line in dict.fromkeys(lines))
    (PLACE / f"{slug(client)}.jsonl").write_text(body, "utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def target(line: Mapping[str, Any], model: str) -> str:
    """The path and query of a line, for another model than it was recorded for."""
    path: str = line["target"]
    return path.replace(guide.MODEL, model).replace(_escaped(guide.MODEL), _escaped(model))


def slug(client: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", client.lower()).strip("-")


def _escaped(model: str) -> str:
    return quote(model, safe="")


def _line(exchange: Exchange, replaced: Mapping[str, str]) -> str:
    # Before anything is cut: half a name of this machine would not be found any more.
    body = json.loads(_shown(exchange.body.decode(), replaced)) if exchange.body else None
    calls = answers.calls(exchange.target, exchange.media, exchange.answer)
    kept = {
        "method": exchange.method,
        "target": exchange.target,
        "headers": {n: v for n, v in exchange.headers.items() if _KEPT_HEADERS.fullmatch(n)},
        "body": _trimmed(body),
        "status": exchange.status,
        "calls": calls,
    }
    return _shown(json.dumps(kept, ensure_ascii=False), replaced)


def _shown(text: str, replaced: Mapping[str, str]) -> str:
    for real, shown in replaced.items():
        text = text.replace(real, shown)
    return text


def _trimmed(value: Any, *, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _trimmed(one, name=key) for key, one in value.items()}
    if isinstance(value, list):
        return [_trimmed(one, name=name) for one in value]
    if not isinstance(value, str) or name in _WHOLE:
        return value
    if name == "description":
        return value if len(value) <= _ABOUT or "absolute" in value else f"{value[:_ABOUT]}..."
    return _cut(value) if len(value) > _LONGEST else value


def _cut(text: str) -> str:
    """Head and tail, and between them the lines that name the project's folder."""
    places = [line.strip() for line in text.splitlines() if PROJECT in line]
    return "\n".join([text[:_HEAD], "...", *(line[:200] for line in places[:2]), text[-_TAIL:]])
