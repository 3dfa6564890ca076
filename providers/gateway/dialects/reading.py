"""Bodies of clients as typed values: guarded first, decoded once, faults with their place.

What a vendor demands is checked; everything else of a request is carried as it came.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from ideplatform.kit import guards
from ideplatform.kit.errors import InvalidInput, MalformedRequest, Pointer
from providers.types import CacheTime, DocumentPart, ImagePart, Reasoning

T = TypeVar("T")
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
ABSENT: Final = msgspec.Raw(b"")
NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=r"\A[^\x00]*\Z")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Level = Literal["off", "minimal", "low", "medium", "high", "auto"]

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANYTHING: Final = msgspec.json.Decoder()
_NOT_JSON: Final = "the body is not valid JSON in UTF-8"
_NOT_OBJECT: Final = "the body is not a JSON object"
_DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL)
_EFFORTS: Final[dict[str, Level]] = {
    "none": "off",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
SAYABLE_EFFORTS: Final = frozenset({"minimal", "low", "medium", "high"})
# Budgets that stand for a level where a vendor knows levels only, in tokens.
_BUDGET_LEVELS: Final[tuple[tuple[int, Level], ...]] = (
    (1_024, "minimal"),
    (4_096, "low"),
    (16_384, "medium"),
)


def members(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of the request, raw.

    Raises InvalidInput for what is not a JSON object of at most 64 levels, TooLarge above 32 MiB.
    """
    try:
        guards.check_json(
            body,
            max_bytes=MAX_BODY_BYTES,
            max_depth=guards.GATEWAY_MAX_DEPTH,
            max_integer=guards.GATEWAY_MAX_INTEGER,
            accepts_nul=True,  # tools do answer with it, and calls keep no text in PostgreSQL
        )
        return _MEMBERS.decode(body)
    except MalformedRequest as wrong:
        raise InvalidInput(wrong.detail, errors=wrong.errors) from None
    except msgspec.ValidationError:
        raise InvalidInput(_NOT_OBJECT) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput(_NOT_JSON) from None


def decode(raw: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], *, at: str = "") -> T:
    """A typed value; raises InvalidInput that points below the place `at`."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as wrong:
        raise InvalidInput(errors=[guards.pointer_of(wrong, base=at)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidInput(_NOT_JSON) from None


def loose(raw: msgspec.Raw) -> object:
    """Whatever an optional member holds; None when it is absent."""
    if not bytes(raw):
        return None
    try:
        return _ANYTHING.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def fault(at: str, detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer=at, detail=detail)])


def is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


def unsaid(
    given: Mapping[str, msgspec.Raw], known: frozenset[str], *, kept: frozenset[str] | set[str]
) -> dict[str, msgspec.Raw]:
    """The members that our call has no words for. `kept`: known ones that say more than it."""
    return {name: raw for name, raw in given.items() if name not in known or name in kept}


def texts(value: object) -> tuple[str, ...]:
    """One text or a list of them."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else ()


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def mapping(value: object) -> dict[str, object]:
    """An optional object; anything else counts as absent."""
    return value if isinstance(value, dict) else {}


def strings(value: object) -> dict[str, str]:
    """The texts of an object."""
    return {name: text for name, text in mapping(value).items() if isinstance(text, str)}


def cache_time(mark: object) -> CacheTime:
    """How long a marked prompt may be kept: Anthropic's `cache_control`, OpenAI's breakpoints.

    OpenAI's lifetimes are longer than Anthropic's; the longer of two stands for each of them.
    """
    if not isinstance(mark, dict) or mark.get("type", "ephemeral") != "ephemeral":
        return ""
    return "1h" if mark.get("ttl") in ("1h", "30m", "12h") else "5m"


def reasoning(*, effort: object, thinking: object, options: object = None) -> Reasoning:
    """How much to think: OpenAI's `reasoning_effort`, Anthropic's `thinking`, OpenRouter's
    `reasoning`. A level that is asked for by name wins over one that a budget stands for."""
    asked, wanted = mapping(thinking), mapping(options)
    named = _EFFORTS.get(text_of(effort) or text_of(wanted.get("effort")))
    if asked.get("type") == "disabled" or wanted.get("enabled") is False:
        return Reasoning()
    budget = _tokens(asked.get("budget_tokens")) or _tokens(wanted.get("max_tokens"))
    if named is not None:
        return Reasoning(level=named, budget=None if named == "off" else budget)
    if budget is not None:
        return Reasoning(level=_level(budget), budget=budget)
    is_asked = bool(asked.get("type")) or wanted.get("enabled") is True
    return Reasoning(level="auto" if is_asked else "off")


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and value is not True and value > 0 else None


def _level(budget: int) -> Level:
    return next((level for bound, level in _BUDGET_LEVELS if budget <= bound), "high")


def image(url: str, *, cache: CacheTime = "") -> ImagePart:
    """A picture by address, or inside a data URL."""
    found = data_url(url)
    if found is None or not found[0].startswith("image/"):
        return ImagePart(media_type="", url=url, cache=cache)
    return ImagePart(media_type=found[0], data=found[1], cache=cache)


def document(data: str, *, name: str, cache: CacheTime = "") -> DocumentPart:
    """A file as a data URL, or as base64 alone, which is a PDF then."""
    found = data_url(data)
    media_type, content = found if found is not None else ("application/pdf", data)
    if media_type.startswith("text/") and (plain := _plain(content)) is not None:
        return DocumentPart(media_type=media_type, name=name, text=plain, cache=cache)
    return DocumentPart(media_type=media_type, name=name, data=content, cache=cache)


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a data URL (RFC 2397); None for every other address."""
    match = _DATA_URL.fullmatch(url) if url.startswith("data:") else None
    if match is None:
        return None
    media_type, parameters, content = match.groups()
    if ";base64" not in parameters:
        content = base64.b64encode(unquote_to_bytes(content)).decode()
    return media_type or "text/plain", content


def _plain(content: str) -> str | None:
    try:
        return base64.b64decode(content, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
