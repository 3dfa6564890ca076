"""What a path may be: a key that no file system, editor or Git ever reads as something else.

Paths are relative, in NFC, with `/`. Two that differ only by case, by composition or by code
points that nobody sees are one path; the folded form says so. Source: Unicode 15 section 3.13
(canonical caseless matching); Git's `is_ntfs_dotgit` and `is_hfs_dotgit`; Windows' device names.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from ideplatform.kit.errors import Pointer
from workspaces.errors import InvalidPath

MAX_BYTES: Final = 1_024
MAX_SEGMENT_BYTES: Final = 255
MAX_DEPTH: Final = 32

# Default_Ignorable_Code_Point of Unicode 15.1 (DerivedCoreProperties.txt): drawn as nothing.
_IGNORABLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control, surrogate, line and paragraph separator.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*([.:].*)?", re.DOTALL
)
_GIT: Final = re.compile(r"(\.git|git~[0-9]+)[ .]*(:.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """An accepted path and its folded form, segment by segment the same number."""

    path: str
    folded: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def depth(self) -> int:
        return self.path.count("/") + 1

    def ancestors(self) -> list[Place]:
        """The directories above, outermost first."""
        pairs = zip(_prefixes(self.path), _prefixes(self.folded), strict=True)
        return [Place(path, folded) for path, folded in pairs]

    def holds(self, other: Place) -> bool:
        """Whether the other lies somewhere below."""
        return other.folded.startswith(self.folded + "/")

    def below(self, child: str) -> Place:
        """The place of a relative path under this directory; raises InvalidPath."""
        return parse(f"{self.path}/{child}")


def parse(text: str, *, pointer: str = "/path") -> Place:
    """The place of a path, normalised to NFC; raises InvalidPath with the reason.

    Units: at most 1,024 bytes of UTF-8, 255 a segment, 32 segments.
    """
    fault = _encoding_fault(text)
    if fault:
        raise _refused(fault, pointer)
    path = unicodedata.normalize("NFC", text)
    segments = path.split("/")
    fault = _whole_fault(path, segments) or next(filter(None, map(_segment_fault, segments)), "")
    if fault:
        raise _refused(fault, pointer)
    return Place(path, "/".join(map(_folded, segments)))


def parse_directory(text: str, *, pointer: str = "/path") -> Place | None:
    """The same for a directory; None is the root, written as an empty path."""
    return parse(text, pointer=pointer) if text else None


def _encoding_fault(text: str) -> str:
    if len(text) > MAX_BYTES:
        return f"a path has at most {MAX_BYTES} bytes"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a path is valid Unicode"
    return ""


def _whole_fault(path: str, segments: list[str]) -> str:
    if len(path.encode()) > MAX_BYTES:
        return f"a path has at most {MAX_BYTES} bytes"
    if len(segments) > MAX_DEPTH:
        return f"a path has at most {MAX_DEPTH} segments"
    if _DRIVE.match(path):
        return "a path is relative, without a drive"
    return ""


def _segment_fault(segment: str) -> str:
    """Why a segment is refused; what nobody sees is judged as if it were not there, too."""
    if not segment:
        return "a path is relative, and no segment of it is empty"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"a segment has at most {MAX_SEGMENT_BYTES} bytes"
    if any(_is_refused(letter) for letter in segment):
        return "no backslash, control, separator or bidirectional characters"
    return _name_fault(segment) or _name_fault(_IGNORABLE.sub("", segment))


def _name_fault(name: str) -> str:
    if name.strip(".") == "" or name[-1] == "." or name[-1].isspace():
        return "a segment is not made of dots, and ends in neither dot nor space"
    folded = _caseless(name)
    if _DEVICE.fullmatch(folded):
        return "a segment is not the name of a device"
    if _GIT.fullmatch(folded):
        return "a segment is not .git or another name of it"
    return ""


def _is_refused(letter: str) -> bool:
    return (
        letter == "\\"
        or letter in _BIDI
        or unicodedata.category(letter) in _REFUSED_CATEGORIES
        or (ord(letter) & 0xFFFE) == 0xFFFE
        or 0xFDD0 <= ord(letter) <= 0xFDEF
    )


def _folded(segment: str) -> str:
    return unicodedata.normalize("NFC", _caseless(_IGNORABLE.sub("", segment)))


def _caseless(name: str) -> str:
    """Canonical caseless form; twice, because case folding may leave the decomposed form."""
    once = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
    return unicodedata.normalize("NFD", once.casefold())


def _prefixes(path: str) -> list[str]:
    segments = path.split("/")
    return ["/".join(segments[:count]) for count in range(1, len(segments))]


def _refused(detail: str, pointer: str) -> InvalidPath:
    return InvalidPath(detail, errors=[Pointer(pointer=pointer, detail=detail)])
