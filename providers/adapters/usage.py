"""A vendor's usage object as disjoint token classes. Pure.

Vendors count differently: OpenAI's and Google's prompt includes what came from the cache,
Anthropic's does not; OpenAI's completion includes reasoning, Google's does not. Verified by
billing/data/usage_normalisation_vectors.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import structlog

from billing.types import TokenCount, UnitClass

log = structlog.get_logger(__name__)

Usage = Mapping[str, object]
MAX_TOKENS = 1_000_000_000  # more in one call is a lie or a fault
_CAMEL = re.compile(r"(?<!^)(?=[A-Z])")
_U = UnitClass

_OPENAI = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "ttl_30m_tokens",
        "ttl_12h_tokens",
        "reasoning_tokens",
        "audio_tokens",
        # Parts of figures above, listed for information.
        "text_tokens",
        "image_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    }
)
_ANTHROPIC = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "ephemeral_5m_input_tokens",
        "ephemeral_1h_input_tokens",
        "thinking_tokens",
    }
)
_GOOGLE = frozenset(
    {
        "prompt_token_count",
        "candidates_token_count",
        "cached_content_token_count",
        "thoughts_token_count",
        "tool_use_prompt_token_count",
        "total_token_count",
        "token_count",
    }
)


class UsageMalformed(ValueError):
    """The object is not a usage object; the caller counts by itself."""


def openai(usage: Usage) -> TokenCount:
    """Chat completions, responses and embeddings."""
    _alarm(usage, known=_OPENAI, vendor="openai")
    read = _details(usage, "prompt_tokens_details", "input_tokens_details")
    wrote = _details(usage, "completion_tokens_details", "output_tokens_details")
    ttl = _details(read, "cache_write_tokens_details")
    cached, written = _count(read, "cached_tokens"), _count(read, "cache_write_tokens")
    half_day = min(_count(ttl, "ttl_12h_tokens"), written)
    heard, spoken = _count(read, "audio_tokens"), _count(wrote, "audio_tokens")
    reasoned = _count(wrote, "reasoning_tokens")
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    return _tokens(
        {
            _U.INPUT: prompt - cached - written - heard,
            _U.CACHE_READ: cached,
            _U.CACHE_WRITE_30M: written - half_day,
            _U.CACHE_WRITE_12H: half_day,
            _U.AUDIO_INPUT: heard,
            _U.OUTPUT: completion - reasoned - spoken,
            _U.OUTPUT_REASONING: reasoned,
            _U.AUDIO_OUTPUT: spoken,
        }
    )


def anthropic(usage: Usage) -> TokenCount:
    """Messages; thinking is inside `output_tokens` and has the same price."""
    _alarm(usage, known=_ANTHROPIC, vendor="anthropic")
    written = _count(usage, "cache_creation_input_tokens")
    hour = _count(_details(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    server_tools = _details(usage, "server_tool_use")
    return _tokens(
        {
            _U.INPUT: _count(usage, "input_tokens"),
            _U.CACHE_READ: _count(usage, "cache_read_input_tokens"),
            _U.CACHE_WRITE_5M: written - hour,
            _U.CACHE_WRITE_1H: hour,
            _U.OUTPUT: _count(usage, "output_tokens"),
            _U.WEB_SEARCH: _count(server_tools, "web_search_requests"),
        }
    )


def google(usage: Usage) -> TokenCount:
    """generateContent and embedContent, in the wire's camelCase or the SDK's snake_case."""
    usage = {_CAMEL.sub("_", key).lower(): value for key, value in usage.items()}
    _alarm(usage, known=_GOOGLE, vendor="google")
    prompt = _count(usage, "prompt_token_count", "token_count")
    cached = _count(usage, "cached_content_token_count")
    return _tokens(
        {
            _U.INPUT: prompt - cached + _count(usage, "tool_use_prompt_token_count"),
            _U.CACHE_READ: cached,
            _U.OUTPUT: _count(usage, "candidates_token_count"),
            _U.OUTPUT_REASONING: _count(usage, "thoughts_token_count"),
        }
    )


def read(normalise: Callable[[Usage], TokenCount], usage: object) -> TokenCount | None:
    """The classes of a usage object from the wire, or None when it is none."""
    if not isinstance(usage, Mapping):
        return None
    try:
        return normalise(usage)
    except UsageMalformed:
        log.warning("usage.refused")
        return None


def _tokens(quantities: Mapping[UnitClass, int]) -> TokenCount:
    # A part larger than its whole is a vendor's slip; a negative class would be worse.
    return TokenCount({name: number for name, number in quantities.items() if number > 0})


def _count(usage: Usage, *names: str) -> int:
    """The first of the named figures that is present; absent is zero, a zero stays zero."""
    for name in names:
        value = usage.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
            raise UsageMalformed
        return value
    return 0


def _details(usage: Usage, *names: str) -> Usage:
    for name in names:
        value = usage.get(name)
        if isinstance(value, Mapping):
            return value
    return {}


def _alarm(usage: Usage, *, known: frozenset[str], vendor: str) -> None:
    """A figure nobody prices yet must be seen by a person, or it is paid for and not billed."""
    for name in _figures(usage):
        if name not in known:
            log.warning("usage.unknown_field_seen", vendor=vendor, field=name[:80])


def _figures(usage: Usage) -> Iterable[str]:
    for name, value in usage.items():
        if isinstance(value, Mapping):
            yield from _figures(value)
        elif "token" in name and isinstance(value, int) and value:
            yield name
