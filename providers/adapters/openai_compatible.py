"""Any server that imitates OpenAI's chat completions: Ollama, vLLM, OpenRouter, our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import Timeouts
from providers.adapters import chat_completions, openai_wire, responses, wire
from providers.adapters.contract import Route
from providers.types import Call, Chunk, EmbedCall, Embeddings, ModelInfo


class OpenAICompatible:
    """Chat completions by default; `config.api` chooses the responses dialect."""

    is_openai = False

    async def stream(
        self, call: Call, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> AsyncGenerator[Chunk, None]:
        uses_responses = route.config.api == "responses"
        if uses_responses:
            path, body = "/responses", responses.body(call, model=route.model)
        else:
            path = "/chat/completions"
            body = chat_completions.body(call, model=route.model, is_openai=self.is_openai)
        async with wire.exchange(
            "POST",
            route,
            path,
            headers=wire.tagged(call, openai_wire.headers(key)),
            timeouts=timeouts,
            body=body,
        ) as response:
            read = responses.read if uses_responses else chat_completions.read
            async for chunk in read(response):
                yield chunk

    async def embed(
        self, call: EmbedCall, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> Embeddings:
        return await openai_wire.embed(call, route, key, timeouts)

    async def list_models(
        self, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> list[ModelInfo]:
        return await openai_wire.list_models(route, key, timeouts)

    async def count_tokens(
        self,
        call: Call,
        route: Route,
        key: Secret | None,
        timeouts: Timeouts,
    ) -> int | None:
        """None: this dialect has no counting call."""
        del call, route, key, timeouts
        return None
