"""Reads hostile zip archives in disposable children: first the directory, then the contents.

What is refused: more or larger entries than allowed, links and devices, encryption, entries that
share bytes, local headers that say other than the directory, methods but stored and deflated, and
compression beyond any honest ratio. Source: APPNOTE.TXT 6.3.10; D. Fifield, "A better zip bomb".
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

MIB: Final = 1024 * 1024
MAX_ENTRIES: Final = 20_000
MAX_FILE_BYTES: Final = 16 * MIB
MAX_TOTAL_BYTES: Final = 500 * MIB
MAX_RATIO: Final = 100
# Small files of spaces or zeros compress further than any ratio, and harm nobody.
HARMLESS_BYTES: Final = MIB
_LOCAL: Final = struct.Struct("<L5H3L2H")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_UTF8: Final = 0x800


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: its packed bytes lie at `start`, `packed` long; `size` is what it becomes."""

    name: str
    is_directory: bool
    is_deflated: bool
    start: int
    packed: int
    size: int
    crc: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The accepted entries, or why the archive is refused, and by which entry if by one."""

    entries: list[Entry] = []
    refusal: str = ""
    culprit: str = ""


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """The packed bytes of one file and what they must become."""

    data: bytes
    is_deflated: bool
    size: int
    crc: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The files in order, or the index of the first that is not what it was said to be."""

    files: list[bytes] = []
    broken: int | None = None


class _Refused(Exception):
    def __init__(self, reason: str, culprit: str = "") -> None:
        super().__init__(reason)
        self.reason, self.culprit = reason, culprit


def inspect(archive: bytes) -> bytes:
    """The child's first function: an archive to its Manifest as MessagePack."""
    try:
        return msgspec.msgpack.encode(Manifest(entries=_entries(archive)))
    except _Refused as refused:
        return msgspec.msgpack.encode(Manifest(refusal=refused.reason, culprit=refused.culprit))


def inflate(body: bytes) -> bytes:
    """The child's second function: a list of Packed as MessagePack to their Contents."""
    files: list[bytes] = []
    for index, packed in enumerate(msgspec.msgpack.decode(body, type=list[Packed])):
        content = _inflated(packed)
        if content is None:
            return msgspec.msgpack.encode(Contents(broken=index))
        files.append(content)
    return msgspec.msgpack.encode(Contents(files=files))


def _inflated(packed: Packed) -> bytes | None:
    """At most one byte more than promised is ever produced."""
    if not packed.is_deflated:
        content = packed.data
    else:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = stream.decompress(packed.data, packed.size + 1)
        except zlib.error:
            return None
        if not stream.eof or stream.unused_data:
            return None
    is_honest = len(content) == packed.size and zlib.crc32(content) == packed.crc
    return content if is_honest else None


def _entries(archive: bytes) -> list[Entry]:
    infos, directory_at = _directory(archive)
    if len(infos) > MAX_ENTRIES:
        raise _Refused(f"an archive has at most {MAX_ENTRIES} entries")
    entries = [_entry(archive, info) for info in infos]
    _check_overlaps(zip(infos, entries, strict=True), directory_at)
    _check_sizes(entries)
    return entries


def _directory(archive: bytes) -> tuple[list[zipfile.ZipInfo], int]:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.infolist(), opened.start_dir
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        UnicodeDecodeError,
        OverflowError,
        ValueError,
        EOFError,
        struct.error,
    ):
        raise _Refused("this is not a zip archive") from None


def _entry(archive: bytes, info: zipfile.ZipInfo) -> Entry:
    name = _name(info)
    reason = _fault(info)
    if reason:
        raise _Refused(reason, name)
    is_directory = name.endswith("/")
    if is_directory and info.file_size:
        raise _Refused("a directory has no content", name)
    return Entry(
        name=name.rstrip("/") if is_directory else name,
        is_directory=is_directory,
        is_deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        start=_data_start(archive, info, name),
        packed=info.compress_size,
        size=info.file_size,
        crc=info.CRC,
    )


def _name(info: zipfile.ZipInfo) -> str:
    """The name as it was written; many archivers write UTF-8 without saying so."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        try:
            return name.encode("cp437").decode()
        except UnicodeError:
            return name
    return name


def _fault(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & _ENCRYPTED:
        return "no entry is encrypted"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "no entry is a link or a device"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "entries are stored or deflated"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return "a stored entry is as large as its content"
    if info.file_size > MAX_FILE_BYTES:
        return f"a file has at most {MAX_FILE_BYTES} bytes"
    if info.file_size > HARMLESS_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        return f"content is compressed at most {MAX_RATIO} times"
    return ""


def _data_start(archive: bytes, info: zipfile.ZipInfo, name: str) -> int:
    """Where the packed bytes begin; the local header must name the same entry."""
    at = info.header_offset
    if at < 0 or at + _LOCAL.size > len(archive):
        raise _Refused("an entry lies outside the archive", name)
    fields: tuple[int, ...] = _LOCAL.unpack_from(archive, at)
    name_length, extra_length = fields[-2:]
    start = at + _LOCAL.size + name_length + extra_length
    local_name = archive[at + _LOCAL.size : at + _LOCAL.size + name_length]
    encoding = "utf-8" if info.flag_bits & _UTF8 else "cp437"
    if archive[at : at + 4] != _LOCAL_MAGIC or local_name != info.orig_filename.encode(encoding):
        raise _Refused("the directory and a local header disagree", name)
    return start


def _check_overlaps(pairs: Iterable[tuple[zipfile.ZipInfo, Entry]], directory_at: int) -> None:
    end = 0
    for info, entry in sorted(pairs, key=lambda pair: pair[0].header_offset):
        if info.header_offset < end:
            raise _Refused("no two entries share bytes", entry.name)
        end = entry.start + entry.packed
        if end > directory_at:
            raise _Refused("an entry lies outside the archive", entry.name)


def _check_sizes(entries: list[Entry]) -> None:
    total = sum(entry.size for entry in entries)
    packed = sum(entry.packed for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise _Refused(f"an archive holds at most {MAX_TOTAL_BYTES} bytes")
    if total > HARMLESS_BYTES and total > MAX_RATIO * packed:
        raise _Refused(f"content is compressed at most {MAX_RATIO} times")
