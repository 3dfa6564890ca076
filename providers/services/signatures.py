"""Signed reasoning that must come back: remembered for a day, for clients that leave it out.

Vendors demand the signed thought, unchanged, in the turn that answers a tool call; the chat
dialect has no place for it. It is remembered in Redis by organization and tool call. What is
forgotten (a miss, a Redis that is away) is not an error: adapters then ask without thinking.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec
import redis.asyncio
import structlog

from ideplatform.kit import redis as kit_redis
from providers.types import (
    AnyPart,
    Call,
    Message,
    RedactedThinkingPart,
    TextPart,
    ThinkingPart,
    ToolUsePart,
)

log = structlog.get_logger(__name__)

KEPT_S: Final = 86_400
MAX_BYTES: Final = 256 * 1024
MAX_CALLS: Final = 128
WAIT_S: Final = 0.2
Signed = ThinkingPart | RedactedThinkingPart


class _Remembered(msgspec.Struct, array_like=True):
    """What belonged to one tool call: the thoughts before it, and its own signature."""

    thoughts: tuple[Signed, ...]
    signature: str


async def remember(organization_id: UUID, parts: Sequence[AnyPart]) -> None:
    """Keep the signed thoughts of an answer that calls tools; does nothing for any other."""
    found = _signed(parts)
    if not found:
        return
    try:
        async with asyncio.timeout(WAIT_S), _client().pipeline(transaction=False) as pipeline:
            for call_id, data in found.items():
                pipeline.set(_key(organization_id, call_id), data, ex=KEPT_S)
            await pipeline.execute()
    except (*kit_redis.ERRORS, TimeoutError) as lost:
        log.info("signatures.not_kept", error=type(lost).__name__)


async def restored(call: Call) -> Call:
    """The call with the signed thoughts that its client left out; itself when none are missing."""
    wanted = _missing(call)
    if not wanted:
        return call
    names = [_key(call.context.organization_id, call_id) for call_id in wanted]
    try:
        async with asyncio.timeout(WAIT_S):
            values = await _client().mget(names)
    except (*kit_redis.ERRORS, TimeoutError) as lost:
        log.info("signatures.not_read", error=type(lost).__name__)
        return call
    found = {
        call_id: msgspec.msgpack.decode(value, type=_Remembered)
        for call_id, value in zip(wanted, values, strict=True)
        if isinstance(value, bytes)
    }
    if not found:
        return call
    messages = tuple(_with(message, found) for message in call.messages)
    return msgspec.structs.replace(call, messages=messages)


def _signed(parts: Sequence[AnyPart]) -> dict[str, bytes]:
    """By tool call: the thoughts stand with the first call, a signature with its own."""
    calls = [part for part in parts if isinstance(part, ToolUsePart) and part.id]
    thoughts = tuple(part for part in parts if _is_signed(part))
    found: dict[str, bytes] = {}
    for place, part in enumerate(calls[:MAX_CALLS]):
        own = thoughts if place == 0 else ()
        if own or part.signature:
            data = msgspec.msgpack.encode(_Remembered(own, part.signature))  # type: ignore[arg-type]
            if len(data) <= MAX_BYTES:
                found[part.id] = data
    return found


def _missing(call: Call) -> list[str]:
    """The calls of the turn that is being answered whose reasoning is not there.

    Earlier turns need none: vendors leave their thoughts out themselves.
    """
    found: list[str] = []
    for message in reversed(call.messages):
        if message.role == "user" and any(isinstance(part, TextPart) for part in message.parts):
            break
        if message.role == "assistant" and not any(map(_is_signed, message.parts)):
            found += [
                part.id
                for part in message.parts
                if isinstance(part, ToolUsePart) and part.id and not part.signature
            ]
    return found[:MAX_CALLS]


def _with(message: Message, found: dict[str, _Remembered]) -> Message:
    known = [
        found[part.id]
        for part in message.parts
        if isinstance(part, ToolUsePart) and part.id in found
    ]
    if message.role != "assistant" or not known:
        return message
    thoughts = [thought for one in known for thought in one.thoughts]
    # A thought that came back without its signature is the one that stands here with it.
    rest = [p for p in message.parts if not (thoughts and isinstance(p, ThinkingPart))]
    return Message(role=message.role, parts=(*thoughts, *_resigned(rest, found)))


def _resigned(parts: Iterable[AnyPart], found: dict[str, _Remembered]) -> Iterable[AnyPart]:
    for part in parts:
        if isinstance(part, ToolUsePart) and part.id in found and not part.signature:
            yield msgspec.structs.replace(part, signature=found[part.id].signature)
        else:
            yield part


def _is_signed(part: AnyPart) -> bool:
    return isinstance(part, RedactedThinkingPart) or (
        isinstance(part, ThinkingPart) and bool(part.signature)
    )


def _key(organization_id: UUID, call_id: str) -> str:
    digest = hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:40]
    return f"signature:{organization_id}:{digest}"


def _client() -> redis.asyncio.Redis:
    """The client of the running loop."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        for ended in [one for one in list(_clients) if one.is_closed()]:
            _clients.pop(ended, None)
        found = _clients[loop] = kit_redis.async_client("cache")
    return found


_clients: Final[dict[asyncio.AbstractEventLoop, redis.asyncio.Redis]] = {}
