"""Translations compiled by ourselves: the same bytes everywhere, and no tool to install.

`locale/<language>/LC_MESSAGES/django.po` is written by people, `django.mo` beside it is made from
it. Source: the GNU gettext manual, "The Format of PO Files" and "The Format of GNU MO Files".
"""

from __future__ import annotations

import ast
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2] / "locale"
_MAGIC: Final = 0x950412DE
_HEADER_BYTES: Final = 28
_PAIR_BYTES: Final = 8
_CONTEXT: Final = "\x04"
_PLURAL: Final = "\x00"


class MalformedCatalog(ValueError):
    """A catalogue has a line that means nothing, or an entry that nobody has looked at."""


def sources(root: Path = ROOT) -> list[Path]:
    """Every catalogue that people write."""
    return sorted(root.glob("*/LC_MESSAGES/django.po"))


def write(root: Path = ROOT) -> list[Path]:
    """Compile every catalogue; the files that were written."""
    for source in sources(root):
        source.with_suffix(".mo").write_bytes(compiled(source.read_text(encoding="utf-8")))
    return [source.with_suffix(".mo") for source in sources(root)]


def drifted(root: Path = ROOT) -> list[Path]:
    """The compiled catalogues that do not say what their sources say."""
    return [
        source.with_suffix(".mo")
        for source in sources(root)
        if not source.with_suffix(".mo").exists()
        or source.with_suffix(".mo").read_bytes() != compiled(source.read_text(encoding="utf-8"))
    ]


def compiled(text: str) -> bytes:
    """A catalogue in the binary form; messages without a translation are left out."""
    pairs = sorted((key.encode(), value.encode()) for key, value in read(text).items() if value)
    strings = bytearray()
    tables: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for column, table in enumerate(tables):
        for pair in pairs:
            table.append((len(pair[column]), len(strings)))
            strings += pair[column] + b"\0"
    count = len(pairs)
    originals, translations = _HEADER_BYTES, _HEADER_BYTES + count * _PAIR_BYTES
    start = translations + count * _PAIR_BYTES
    header = struct.pack("<7I", _MAGIC, 0, count, originals, translations, 0, start)
    rows = [struct.pack("<2I", length, start + at) for table in tables for length, at in table]
    return header + b"".join(rows) + bytes(strings)


def read(text: str) -> dict[str, str]:
    """Message to translation, as the binary form writes contexts and plurals; raises
    MalformedCatalog."""
    found: dict[str, str] = {}
    for entry in _entries(text):
        key = entry.get("msgid", "")
        if "msgctxt" in entry:
            key = entry["msgctxt"] + _CONTEXT + key
        if "msgid_plural" in entry:
            key += _PLURAL + entry["msgid_plural"]
        plurals = [entry[name] for name in sorted(entry) if name.startswith("msgstr[")]
        if key in found:
            raise MalformedCatalog(f"twice: {key!r}")
        found[key] = _PLURAL.join(plurals) if plurals else entry.get("msgstr", "")
    return found


def _entries(text: str) -> Iterator[dict[str, str]]:
    entry: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#,") and "fuzzy" in line:
            raise MalformedCatalog("an entry is fuzzy: nobody has looked at it")
        if line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        if name.startswith("msg"):
            if name in ("msgid", "msgctxt") and "msgid" in entry:
                yield entry
                entry = {}
            field, entry[name] = name, _text(value)
        elif line.startswith('"') and field:
            entry[field] += _text(line)
        elif line.strip():
            raise MalformedCatalog(f"not understood: {line!r}")
        elif "msgid" in entry:
            yield entry
            entry, field = {}, ""


def _text(quoted: str) -> str:
    found = ast.literal_eval(quoted.strip())
    if not isinstance(found, str):
        raise MalformedCatalog(f"not a text: {quoted!r}")
    return found
