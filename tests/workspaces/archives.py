"""Zip archives, honest ones and made-up ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass


def an_archive(files: Mapping[str, str | bytes] | None = None) -> bytes:
    """An honest archive of names and contents; a name with a final `/` is a directory."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ({"a.txt": "hello"} if files is None else files).items():
            archive.writestr(name, content)
    return sink.getvalue()


@dataclass(frozen=True, kw_only=True)
class Raw:
    """One entry, every field of which may lie."""

    name: bytes = b"a.txt"
    local_name: bytes | None = None
    content: bytes = b"hello"
    packed: bytes | None = None
    method: int = 8
    flags: int = 0x800
    size: int | None = None
    crc: int | None = None
    mode: int = 0
    offset: int | None = None


def a_raw_archive(*entries: Raw) -> bytes:
    """An archive written field by field."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        packed = entry.packed if entry.packed is not None else _packed(entry)
        size = len(entry.content) if entry.size is None else entry.size
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        offset = len(body) if entry.offset is None else entry.offset
        local_name = entry.name if entry.local_name is None else entry.local_name
        common = (20, entry.flags, entry.method, 0, 0x21, crc, len(packed), size)
        if entry.offset is None:
            body += struct.pack("<L5H3L2H", 0x04034B50, *common, len(local_name), 0)
            body += local_name + packed
        directory += struct.pack(
            "<L6H3L5H2L",
            0x02014B50, 0x0314, *common, len(entry.name), 0, 0, 0, 0, entry.mode << 16, offset,
        ) + entry.name  # fmt: skip
    end = struct.pack(
        "<L4H2LH", 0x06054B50, 0, 0, len(entries), len(entries), len(directory), len(body), 0
    )
    return bytes(body + directory + end)


def _packed(entry: Raw) -> bytes:
    if entry.method != 8:
        return entry.content
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(entry.content) + deflater.flush()
