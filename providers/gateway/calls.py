"""The routes that call a model: read by the dialect, answered by the exchange."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import msgspec

from providers.gateway import admission, embeddings, forms, replies, sessions
from providers.gateway.dialects import chat, messages
from providers.gateway.dialects.contract import Asked, Dialect
from providers.gateway.principal import Caller
from providers.gateway.request import Request
from providers.services import agent_models, counting, gateway, signatures
from providers.types import AGENT_PREFIX, Call, Chunk, DialectName


async def complete_chat(request: Request, caller: Caller, _: str) -> None:
    """`POST /v1/chat/completions`."""
    await _answered(request, caller, chat)


async def create_message(request: Request, caller: Caller, _: str) -> None:
    """`POST /v1/messages`."""
    await _answered(request, caller, messages)


async def count_tokens(request: Request, caller: Caller, _: str) -> None:
    """`POST /v1/messages/count_tokens`: nobody is billed."""
    asked = await read(request, caller, messages)
    tokens = await counting.count(asked.call)
    await replies.json(request, msgspec.json.encode({"input_tokens": tokens}))


async def embed(request: Request, caller: Caller, _: str) -> None:
    """`POST /v1/embeddings`."""
    await embeddings.answer(request, caller, await request.body())


async def read(request: Request, caller: Caller, dialect: Dialect) -> Asked:
    """The body as the dialect reads it, its call as the gateway makes it.

    Raises InvalidInput, TooLarge, RequestTimeout; ClientGone.
    """
    asked = dialect.read(
        await request.body(),
        headers=request.headers,
        request_id=request.request_id,
        context=caller.context,
    )
    return dataclasses.replace(asked, call=admission.fitted(asked.call))


def chunks_of(call: Call) -> AsyncGenerator[Chunk, None]:
    """The answer as it comes: of an agent, or through the paid door."""
    return (
        agent_models.stream(call) if call.model.startswith(AGENT_PREFIX) else gateway.stream(call)
    )


async def prepared(request: Request, asked: Asked) -> Asked:
    """The call with what its client left out: its session for an agent, signed thoughts for a
    vendor. Anthropic's own dialect has them."""
    call = asked.call
    if call.model.startswith(AGENT_PREFIX):
        key = sessions.of(request.headers, call).key
        return dataclasses.replace(asked, call=msgspec.structs.replace(call, session=key))
    if call.source is not None and call.source.dialect is DialectName.MESSAGES:
        return asked
    return dataclasses.replace(asked, call=await signatures.restored(call))


async def _answered(request: Request, caller: Caller, dialect: Dialect) -> None:
    asked = await prepared(request, await read(request, caller, dialect))
    await forms.answer(request, dialect, asked, chunks_of(asked.call))
