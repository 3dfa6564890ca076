"""Any server that imitates OpenAI's chat completions: Ollama, vLLM, OpenRouter, our simulator."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import Timeouts
from providers.adapters import openai_wire
from providers.adapters.contract import Route
from providers.adapters.openai_wire import count_tokens, embed, list_models
from providers.types import Call, Chunk

__all__ = ["count_tokens", "embed", "list_models", "stream"]


def stream(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts
) -> AsyncGenerator[Chunk, None]:
    """Chat completions, or the responses dialect where `config.api` says so."""
    return openai_wire.stream(call, route, key, timeouts, is_openai=False)
