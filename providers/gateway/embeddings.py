"""`POST /v1/embeddings`: texts or token numbers in, vectors as numbers or base64 out."""

from __future__ import annotations

import base64
import sys
from array import array
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ideplatform.kit import guards
from ideplatform.kit.errors import InvalidInput, Pointer
from providers.gateway import replies
from providers.gateway.principal import Caller
from providers.gateway.request import Request
from providers.services import gateway
from providers.types import EmbedCall, Embeddings

MAX_INPUTS: Final = 2_048  # as OpenAI has it
Token = Annotated[int, Meta(ge=0)]
Tokens = Annotated[list[Token], Meta(min_length=1)]


class _Asked(msgspec.Struct):
    model: Annotated[str, Meta(min_length=1, max_length=250)]
    input: str | list[str | Token | Tokens]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=100_000)] | None = None


_DECODER: Final = msgspec.json.Decoder(_Asked)


async def answer(request: Request, caller: Caller, body: bytes) -> None:
    """Embed and reply; raises InvalidInput and what the paid door raises."""
    asked = guards.decode_json(
        body,
        _DECODER,
        max_bytes=len(body),
        max_depth=guards.GATEWAY_MAX_DEPTH,
        max_integer=guards.GATEWAY_MAX_INTEGER,
    )
    call = EmbedCall(
        request_id=request.request_id,
        context=caller.context,
        model=asked.model,
        inputs=_inputs(asked.input),
        dimensions=asked.dimensions,
    )
    found = await gateway.embed(call)
    headers = [replies.header("x-mundial-model", found.model)]
    await replies.json(request, _rendered(found, asked), headers=headers)


def _inputs(
    given: str | list[str | int | list[int]],
) -> tuple[str, ...] | tuple[tuple[int, ...], ...]:
    """One text, some texts, one list of tokens, or some; never a mixture."""
    if isinstance(given, str):
        return (given,)
    if not 1 <= len(given) <= MAX_INPUTS:
        raise _refused(f"between 1 and {MAX_INPUTS} inputs are accepted")
    texts = tuple(one for one in given if isinstance(one, str))
    numbers = tuple(one for one in given if isinstance(one, int))
    lists = tuple(tuple(one) for one in given if isinstance(one, list))
    if len(texts) == len(given):
        return texts
    if len(lists) == len(given):
        return lists
    if len(numbers) == len(given):
        return (numbers,)
    raise _refused("inputs are all texts or all tokens")


def _refused(detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer="/input", detail=detail)])


def _rendered(found: Embeddings, asked: _Asked) -> bytes:
    write = _base64 if asked.encoding_format == "base64" else list
    usage: dict[str, object] = {
        "prompt_tokens": found.tokens.input or found.tokens.total,
        "total_tokens": found.tokens.total or found.tokens.input,
    }
    if found.cost_usd is not None:
        usage["cost"] = found.cost_usd
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": place, "embedding": write(vector)}
                for place, vector in enumerate(found.vectors)
            ],
            "model": asked.model,
            "usage": usage,
        }
    )


def _base64(vector: tuple[float, ...]) -> str:
    """Little-endian floats of 32 bits, as OpenAI sends them and its SDK asks for."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
