"""What clients ask for, as one request: of the socket, of the founding client, of REST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from uuid import UUID

from accounts.types import Actor
from agents import frames
from agents.services import conversations, runs
from agents.services.conversations import NewMessage
from agents.types import AgentRequest, ConversationOrigin, Limits, MessageRole, Run
from ideplatform.kit.errors import InvalidInput, Pointer
from providers.services import access as provider_access

MAX_MESSAGES = 200
MAX_REQUEST_ID = 200
_ROLES = {role.value: role for role in MessageRole if role != MessageRole.TOOL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One request to an agent. `prompt` or `messages`, whose last is the person's."""

    prompt: str
    messages: Sequence[frames.SeedMessage] = ()
    agent_id: str = ""
    workspace_id: UUID | None = None
    conversation_id: UUID | None = None
    request_id: str = ""
    model: str = ""
    provider_id: UUID | None = None
    limits: frames.RunLimits | None = None
    origin: ConversationOrigin = ConversationOrigin.API


def of_start(frame: frames.Start) -> Wanted:
    """The request of a `start` frame."""
    return Wanted(
        prompt=frame.prompt,
        messages=frame.messages,
        agent_id=frame.agent_id,
        workspace_id=frame.workspace_id,
        conversation_id=frame.conversation_id,
        request_id=frame.request_id,
        model=frame.model,
        provider_id=frame.provider_id,
        limits=frame.limits,
        origin=ConversationOrigin.IDE,
    )


def of_seed(request: frames.SeedRequest) -> Wanted:
    """The founding client's bare request."""
    return Wanted(
        prompt="",
        messages=request.messages,
        agent_id=request.agent_id or "",
        workspace_id=request.workspace_id,
        conversation_id=request.conversation_id,
        model=request.model or "",
        provider_id=request.provider_id,
        origin=ConversationOrigin.IDE,
    )


def open_run(*, actor: Actor, wanted: Wanted) -> Run:
    """Judge a request and open its run; raises as `runs.open_run` does, with pointers."""
    prompt, earlier = _said(wanted)
    if len(wanted.request_id) > MAX_REQUEST_ID:
        raise _wrong("/request_id", f"at most {MAX_REQUEST_ID} characters")
    request = AgentRequest(
        prompt=prompt,
        model=_model(actor, wanted),
        provider_id=wanted.provider_id,
        limits=_limits(wanted.limits),
    )
    return runs.open_run(
        actor=actor,
        workspace_id=wanted.workspace_id,
        conversation_id=wanted.conversation_id,
        prompt=prompt,
        agent=wanted.agent_id,
        request_id=wanted.request_id,
        request=request,
        earlier=earlier,
        origin=wanted.origin,
    )


def _said(wanted: Wanted) -> tuple[str, list[NewMessage]]:
    """What the person asks now, and what was said before."""
    if bool(wanted.prompt.strip()) == bool(wanted.messages):
        raise _wrong("/prompt", "send either a prompt or messages")
    if not wanted.messages:
        return _bounded(wanted.prompt, "/prompt"), []
    if len(wanted.messages) > MAX_MESSAGES:
        raise _wrong("/messages", f"at most {MAX_MESSAGES} messages")
    *before, last = wanted.messages
    place = f"/messages/{len(before)}"
    if last.role != MessageRole.USER or not last.content.strip():
        raise _wrong(place, "the last message is the person's, and not empty")
    earlier = []
    for index, message in enumerate(before):
        if message.role not in _ROLES:
            raise _wrong(f"/messages/{index}/role", f"one of {', '.join(_ROLES)}")
        text = _bounded(message.content, f"/messages/{index}/content")
        if text:
            earlier.append(conversations.said(_ROLES[message.role], text))
    return _bounded(last.content, f"{place}/content"), earlier


def _model(actor: Actor, wanted: Wanted) -> str:
    """The model's name; with a provider, bound to that account."""
    if len(wanted.model) > 255:
        raise _wrong("/model", "at most 255 characters")
    if wanted.provider_id is None:
        return wanted.model
    provider = provider_access.use(actor, wanted.provider_id)
    if not wanted.model:
        raise _wrong("/model", "name a model of this provider")
    prefix = provider.slug + "/"
    return wanted.model if wanted.model.startswith(prefix) else prefix + wanted.model


def _limits(asked: frames.RunLimits | None) -> Limits:
    """The platform's limits, lowered where the caller asked for it."""
    if asked is None:
        return Limits()
    usual = Limits()
    lowered = {
        name: _lowered(name, getattr(asked, name), getattr(usual, name))
        for name in ("steps", "model_calls", "tool_calls", "tokens", "active_s")
    }
    return Limits(**lowered, cost_usd=_lowered_cost(asked.cost_usd, usual.cost_usd))


def _lowered(name: str, asked: int | None, usual: int) -> int:
    if asked is None:
        return usual
    if not 1 <= asked <= usual:
        raise _wrong(f"/limits/{name}", f"from 1 to {usual}")
    return asked


def _lowered_cost(asked: str | None, usual: str) -> str:
    if asked is None:
        return usual
    try:
        amount = Decimal(asked)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 < amount <= Decimal(usual):
        raise _wrong("/limits/cost_usd", f"a decimal above 0, up to {usual}")
    return format(amount, "f")


def _bounded(text: str, pointer: str) -> str:
    if len(text) > frames.MAX_PROMPT_CHARS:
        raise frames.too_long(pointer, most=frames.MAX_PROMPT_CHARS)
    return text


def _wrong(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer=pointer, detail=detail)])
