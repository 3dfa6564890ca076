"""Disjoint token classes in the figures of the vendors' dialects, and what only we can say.

OpenAI's prompt includes what the cache held, and its completion includes reasoning; Anthropic's
input leaves caches out. `cost` is our member: US dollars as a decimal string.
"""

from __future__ import annotations

from typing import Final

from billing.types import TokenCount, UnitClass
from providers.types import StopReason, Usage

_U = UnitClass
_OPENAI_TIERS: Final = {"standard": "default", "flex": "flex", "priority": "priority"}
_ANTHROPIC_TIERS: Final = frozenset({"standard", "priority", "batch"})


def chat(usage: Usage) -> dict[str, object]:
    """The `usage` of a chat completion."""
    tokens = usage.tokens
    prompt = {
        "cached_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "audio_tokens": tokens.of(_U.AUDIO_INPUT),
    }
    completion = {
        "reasoning_tokens": tokens.reasoning,
        "audio_tokens": tokens.of(_U.AUDIO_OUTPUT),
    }
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    } | _cost(usage)


def messages(usage: Usage) -> dict[str, object]:
    """The `usage` of a whole message."""
    tokens = usage.tokens
    # Two lifetimes are all this dialect knows; the shorter of another vendor count as its shorter.
    short = tokens.of(_U.CACHE_WRITE_5M, _U.CACHE_WRITE_30M)
    created = {
        "ephemeral_5m_input_tokens": short,
        "ephemeral_1h_input_tokens": tokens.cache_write - short,
    }
    tier = usage.service_tier
    return messages_delta(usage) | {
        "cache_creation": created,
        "service_tier": tier if tier in _ANTHROPIC_TIERS else "standard",
    }


def messages_delta(usage: Usage) -> dict[str, object]:
    """The cumulative `usage` of a stream's `message_delta`."""
    tokens = usage.tokens
    return {
        "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output,
        **_thought(tokens),
        **_searched(tokens),
        **_cost(usage),
    }


def chat_tier(usage: Usage) -> dict[str, object]:
    """The `service_tier` member, where OpenAI has a word for it."""
    word = _OPENAI_TIERS.get(usage.service_tier)
    return {"service_tier": word} if word else {}


def remarks(
    usage: Usage, reason: StopReason, *, unsaid: frozenset[StopReason]
) -> dict[str, object]:
    """The `x_mundial` member: a reason among those that the dialect cannot say, an estimate."""
    found: dict[str, object] = {}
    if reason in unsaid:
        found["stop"] = reason.value
    if usage.is_estimated:
        found["estimated"] = True
    return {"x_mundial": found} if found else {}


def _cost(usage: Usage) -> dict[str, object]:
    return {} if usage.cost_usd is None else {"cost": usage.cost_usd}


def _thought(tokens: TokenCount) -> dict[str, object]:
    if not tokens.reasoning:
        return {}
    return {"output_tokens_details": {"thinking_tokens": tokens.reasoning}}


def _searched(tokens: TokenCount) -> dict[str, object]:
    searches = tokens.of(_U.WEB_SEARCH)
    if not searches:
        return {}
    return {"server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0}}
