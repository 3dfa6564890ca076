"""What a call probably used, when its vendor did not say: bytes times tokens per byte.

The ratio of a model is learned from calls that the vendor counted; sums are gathered in the
process and added to `token_ratios` in the rhythm of the leases, never per call.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from decimal import Decimal
from typing import Final

from django.db import connection

from billing import estimates
from billing.types import TokenCount
from providers.adapters import Ratio
from providers.models import TokenRatio
from providers.types import (
    AnyPart,
    AudioPart,
    Call,
    DocumentPart,
    EmbedCall,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

# Until a model has shown this many bytes the usual ratio weighs in: one odd call is no rule.
PRIOR_BYTES: Final = 4_000
# Beyond this the past is halved: a changed tokenizer is learned again.
HALVE_AT_BYTES: Final = 50_000_000
USUAL: Final = Ratio()
MESSAGE_BYTES: Final = 12  # what a message costs beside its text, about four tokens
IMAGE_BYTES: Final = 4_000  # about a thousand tokens, the middle of what vendors count
PDF_PAGE_BYTES: Final = 50_000
DOCUMENT_PAGE_BYTES: Final = 8_000  # about two thousand tokens, text and picture of a page
# Wave files are 32 KB a second and vendors count 10 to 32 tokens, about 100 bytes of text.
AUDIO_SHARE: Final = 320

Key = tuple[str, str]


def _nothing() -> list[int]:
    return [0, 0, 0, 0]


class _Sums:
    """Input bytes, input tokens, output bytes, output tokens of each model, not yet written."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: defaultdict[Key, list[int]] = defaultdict(_nothing)


_sums = _Sums()


def input_bytes(call: Call | EmbedCall) -> int:
    """UTF-8 bytes of everything that the model will read, images at a flat figure."""
    if isinstance(call, EmbedCall):
        return sum(_input_size(one) for one in call.inputs)
    size = len(call.system.encode()) + MESSAGE_BYTES * len(call.messages)
    size += sum(
        len(t.name) + len(t.description.encode()) + len(bytes(t.parameters)) for t in call.tools
    )
    for message in call.messages:
        for part in message.parts:
            match part:
                case TextPart(text=text) | ThinkingPart(text=text) | RefusalPart(text=text):
                    size += len(text.encode())
                case ToolResultPart(text=text, media=media):
                    size += len(text.encode()) + sum(map(_medium_size, media))
                case ToolUsePart(name=name, arguments=arguments):
                    size += len(name) + len(arguments.encode())
                case _:
                    size += _medium_size(part)
    return size + sum(len(bytes(tool)) for tool in call.server_tools)


def _medium_size(part: AnyPart) -> int:
    """About what its tokens weigh as text; the vendors' exact rules differ and change."""
    match part:
        case DocumentPart(text=text) if text:
            return len(text.encode())
        case DocumentPart(media_type=kind, data=data) if data and kind.startswith("text/"):
            return len(data) * 3 // 4
        case DocumentPart(data=data):
            # Vendors read each page as text and as a picture; a page is about 50 KB of a PDF.
            pages = 1 + len(data) * 3 // 4 // PDF_PAGE_BYTES
            return DOCUMENT_PAGE_BYTES * pages
        case AudioPart(data=data):
            return len(data) * 3 // 4 // AUDIO_SHARE + MESSAGE_BYTES
        case OpaquePart(raw=raw):
            return len(bytes(raw))
        case RedactedThinkingPart(data=data):
            return min(len(data), IMAGE_BYTES)
    return IMAGE_BYTES


def _input_size(one: str | tuple[int, ...]) -> int:
    """Of a text its bytes; of token numbers the bytes that so many tokens usually are."""
    return len(one.encode()) if isinstance(one, str) else round(len(one) / USUAL.input)


def estimate(
    *, input_bytes: int, output_bytes: int, ratio: Ratio, reported: TokenCount | None
) -> TokenCount:
    """The tokens of a cut call: never less than what the vendor had already reported."""
    return estimates.tokens(
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        input_ratio=Decimal(str(ratio.input)),
        output_ratio=Decimal(str(ratio.output)),
        reported=reported,
    )


def learn(key: Key, *, input_bytes: int, output_bytes: int, tokens: TokenCount) -> None:
    """Remember a call that the vendor counted; hidden reasoning has no bytes and is left out."""
    with _sums.lock:
        sums = _sums.waiting[key]
        sums[0] += input_bytes
        sums[1] += tokens.input
        sums[2] += output_bytes
        sums[3] += tokens.output if output_bytes else 0


def flush() -> None:
    """Add what this process learned to the table."""
    with _sums.lock:
        waiting, _sums.waiting = _sums.waiting, defaultdict(_nothing)
    if not waiting:
        return
    # In one order, so that two processes wait for each other instead of deadlocking.
    rows: list[list[str | int]] = [
        [kind, model, *waiting[kind, model], HALVE_AT_BYTES] for kind, model in sorted(waiting)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_ADD, rows)


def ratios(keys: set[Key]) -> dict[Key, Ratio]:
    """The ratios of some models, the usual one where nothing was learned."""
    rows = TokenRatio.objects.filter(model__in={model for _, model in keys})
    learned = {(row.provider_type, row.model): _ratio(row) for row in rows}
    return {key: learned.get(key, USUAL) for key in keys}


def learned() -> dict[Key, Ratio]:
    """The ratios of all models of which anything was learned."""
    return {(row.provider_type, row.model): _ratio(row) for row in TokenRatio.objects.all()}


def _ratio(row: TokenRatio) -> Ratio:
    return Ratio(
        input=_smoothed(row.input_tokens, row.input_bytes, USUAL.input),
        output=_smoothed(row.output_tokens, row.output_bytes, USUAL.output),
    )


def _smoothed(tokens: int, size: int, usual: float) -> float:
    weight = max(0, PRIOR_BYTES - size)
    return (tokens + weight * usual) / max(1, size + weight)


_ADD: Final = """
INSERT INTO token_ratios AS held
    (provider_type, model, input_bytes, input_tokens, output_bytes, output_tokens)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (provider_type, model) DO UPDATE SET
    (input_bytes, input_tokens, output_bytes, output_tokens) = (
        SELECT held.input_bytes / share + excluded.input_bytes,
               held.input_tokens / share + excluded.input_tokens,
               held.output_bytes / share + excluded.output_bytes,
               held.output_tokens / share + excluded.output_tokens
        FROM (SELECT CASE WHEN held.input_bytes > %s THEN 2 ELSE 1 END AS share) AS age)
"""
