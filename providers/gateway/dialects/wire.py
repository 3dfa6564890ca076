"""What writers of both dialects share: encoders, raw JSON on one line, data URLs."""

from __future__ import annotations

from typing import Final

import msgspec

from providers.types import ImagePart

encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def one_line(raw: msgspec.Raw) -> bytes:
    """Raw JSON without line ends, which would end a server-sent event's line."""
    text = bytes(raw)
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text


def members(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a raw object; none when it is something else."""
    try:
        return _members.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def data_url(media_type: str, data: str) -> str:
    return f"data:{media_type};base64,{data}"


def image_url(part: ImagePart) -> str:
    return part.url or data_url(part.media_type, part.data)
