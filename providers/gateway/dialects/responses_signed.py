"""Signed reasoning of any vendor in the one place that `responses` clients bring back unchanged.

A reasoning item's `encrypted_content` is opaque to clients. Ours begins with `mundial.` and holds
what a vendor wants back: a thought with its signature, redacted thinking, or the signature of a
call (Google). What OpenAI encrypted itself is left alone: the adapter of its dialect takes it as
`<item id>#<content>`, in `ThinkingPart.signature`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from providers.types import RedactedThinkingPart, ThinkingPart

PREFIX: Final = "mundial."
SEPARATOR: Final = "#"


class _Signed(msgspec.Struct, array_like=True, tag_field="kind", frozen=True):
    """What one item stands for."""


class _Thought(_Signed, tag="t", frozen=True):
    text: str
    signature: str


class _Redacted(_Signed, tag="r", frozen=True):
    data: str


class CallSignature(_Signed, tag="c", frozen=True):
    """The signature of the call that follows, by its id."""

    call_id: str
    signature: str


_decoder: Final[msgspec.json.Decoder[_Thought | _Redacted | CallSignature]] = msgspec.json.Decoder(
    _Thought | _Redacted | CallSignature
)


def thought(text: str, signature: str) -> str:
    return _sealed(_Thought(text, signature))


def redacted(data: str) -> str:
    return _sealed(_Redacted(data))


def of_call(call_id: str, signature: str) -> str:
    return _sealed(CallSignature(call_id, signature))


def opened(content: str) -> ThinkingPart | RedactedThinkingPart | CallSignature | None:
    """What an `encrypted_content` of ours stands for; None for anything else."""
    if not content.startswith(PREFIX):
        return None
    try:
        found = _decoder.decode(base64.b64decode(content[len(PREFIX) :], validate=True))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError):
        return None
    match found:
        case _Thought(text=text, signature=signature):
            return ThinkingPart(text=text, signature=signature)
        case _Redacted(data=data):
            return RedactedThinkingPart(data=data)
    return found


def _sealed(signed: _Signed) -> str:
    return PREFIX + base64.b64encode(msgspec.json.encode(signed)).decode()
