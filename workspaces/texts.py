"""What a file's bytes are: text or not, its line ends, its byte order mark."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

_BYTES: Final = {"crlf": "\r\n", "cr": "\r", "lf": "\n", "": "\n"}
_PROBE_BYTES: Final = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`eol` is the most frequent line end (`lf`, `crlf`, `cr`; empty without any)."""

    eol: str
    has_bom: bool


def profile(content: bytes) -> Profile:
    """The metadata that a projection restores."""
    if is_binary(content):
        return Profile(eol="", has_bom=False)
    return Profile(eol=_dominant_eol(content), has_bom=content.startswith(codecs.BOM_UTF8))


def is_binary(content: bytes) -> bool:
    """Whether there is a NUL near the beginning, as Git judges it."""
    return b"\0" in content[:_PROBE_BYTES]


def decoded(content: bytes) -> str | None:
    """The text of UTF-8 content, its byte order mark included; None when it is something else."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def restored(text: str, wanted: Profile) -> bytes:
    """A text with LF and no mark, written as the file was: the same line ends, the same mark."""
    body = text.replace("\n", _BYTES[wanted.eol]).encode()
    return codecs.BOM_UTF8 + body if wanted.has_bom else body


def _dominant_eol(content: bytes) -> str:
    crlf = content.count(b"\r\n")
    counts = {
        "crlf": crlf,
        "lf": content.count(b"\n") - crlf,
        "cr": content.count(b"\r") - crlf,
    }
    name = max(counts, key=lambda eol: counts[eol])
    return name if counts[name] else ""
