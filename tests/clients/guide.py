"""`docs/howto/clients.md` taken at its word: the files that it shows, and the lines to run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "clients.md"
ADDRESS, KEY, MODEL = "https://mundial.example", "imk_your_key", "default/code"
FILE, TEXT = "notes.md", "remember the milk\n"
"""What every section asks for."""

_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_SHOWN = re.compile(
    r"(?:^`~/(?P<path>[^`]+)`\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One client's configuration: files below the home, and a script for the shell."""

    files: dict[str, str]
    script: str


def names() -> list[str]:
    """The clients of the page, in its order."""
    return [found[1] for found in _SECTION.finditer(PAGE.read_text("utf-8"))]


def setup(client: str, *, address: str, key: str, model: str) -> Setup:
    """A client's section with these values put in. Raises KeyError for an unknown client."""
    page = PAGE.read_text("utf-8")
    for shown, real in ((ADDRESS, address), (KEY, key), (MODEL, model)):
        page = page.replace(shown, real)
    text = {found[1]: found[2] for found in _SECTION.finditer(page)}[client]
    blocks = list(_SHOWN.finditer(text))
    return Setup(
        files={block["path"]: block["text"] for block in blocks if block["path"]},
        script="".join(
            block["text"] for block in blocks if block["language"] == "sh" and not block["path"]
        ),
    )
