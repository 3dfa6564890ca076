"""A gateway call to an agent as a run: where it works, what it continues, what it is told.

The agent's own conversation goes on when the client's history continues its end; any other history
begins a new one with what the client sent. Both are found by the session's thread, see `threads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from accounts.types import Actor, Permission
from agents import catalog, frames, resends, selectors
from agents.models import GatewayThread, GatewayTurn
from agents.resends import Turn
from agents.services import actors, runs, threads
from agents.services.conversations import NewMessage
from agents.types import (
    AgentRequest,
    ClientTool,
    ConversationOrigin,
    Limits,
    MessageRole,
    Run,
)
from ideplatform.kit import clock
from ideplatform.kit.errors import Forbidden, InvalidInput, NotFound, Pointer
from providers.errors import ModelNotFound
from providers.types import AGENT_PREFIX, Call, CallContext, ModelInfo, TextPart
from workspaces import selectors as workspaces
from workspaces.services import access

MAX_TOOLS = 128
_WORKSPACES_TRIED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A run, and for whom it acts."""

    run: Run
    actor: Actor


def listed(context: CallContext) -> list[ModelInfo]:
    """The agents that a caller may run: none for a key without the scope `agents:run`."""
    try:
        actor = actors.calling(user_id=context.user_id, api_key_id=context.api_key_id)
    except Forbidden:
        return []
    if not actor.scope_allows(Permission.AGENT_RUN):
        return []
    return [
        ModelInfo(id=AGENT_PREFIX + card.id, display_name=card.name) for card in catalog.cards()
    ]


@transaction.atomic
def opened(call: Call) -> Opened:
    """The run that answers a call; the same request id is the same run.

    Raises ModelNotFound, InvalidInput, NotFound, Forbidden, TooManyRequests and what
    `runs.open_run` raises.
    """
    card = catalog.card(call.model.removeprefix(AGENT_PREFIX))
    if card is None:
        raise ModelNotFound
    asked = resends.turns(call.messages)
    if not asked or call.messages[-1].role == "assistant":
        detail = "the last message is the person's, or a tool's result"
        raise InvalidInput(errors=[Pointer(pointer="/messages", detail=detail)])
    context = call.context
    actor = actors.calling(user_id=context.user_id, api_key_id=context.api_key_id)
    workspace_id = context.workspace_id or _workspace(actor, context)
    thread = threads.locked(
        organization_id=context.organization_id,
        user_id=context.user_id,
        session_key=call.session or f"call:{call.request_id}",
    )
    turn = _continued(thread, asked, agent_id=card.id, workspace_id=workspace_id)
    run = runs.open_run(
        actor=actor,
        workspace_id=workspace_id,
        conversation_id=turn.conversation_id if turn is not None else None,
        prompt=_bounded(resends.words(asked[-1].messages)),
        agent=card.id,
        request_id=f"gateway:{call.request_id}",
        request=_request(call),
        earlier=() if turn is not None else _earlier(call, asked),
        said=threads.new_messages(asked[-1].messages),
        origin=ConversationOrigin.GATEWAY,
    )
    _note(thread, run, asked, begin=turn.position + 1 if turn is not None else 0, call=call)
    return Opened(run=run, actor=actor)


def cancel(found: Opened) -> None:
    """Nobody waits for the answer any more; one that has ended stays as it is."""
    try:
        runs.cancel(actor=found.actor, run_id=found.run.id)
    except (NotFound, Forbidden):
        return  # the person may no longer steer there; the run ends at its next step for that


def unheard(call: Call) -> tuple[str, ...]:
    """What a call asks of a model that an agent decides itself."""
    asked = {
        "temperature": call.temperature is not None,
        "top_p": call.top_p is not None,
        "max_output_tokens": call.max_output_tokens is not None,
        "stop": bool(call.stop),
        "response_format": call.response_format is not None,
        "tool_choice": bool(call.tool_name) or call.tool_choice == "required",
        "server_tools": bool(call.server_tools),
    }
    return tuple(name for name, is_asked in asked.items() if is_asked)


def _workspace(actor: Actor, context: CallContext) -> UUID:
    """The oldest workspace of the paying organization where the caller may run agents."""
    rows = workspaces.workspaces_of(actor).filter(organization_id=context.organization_id)
    oldest = rows.order_by("created_at", "pk").values_list("pk", flat=True)
    for candidate in oldest[:_WORKSPACES_TRIED]:
        try:
            return access.workspace(actor, candidate, Permission.AGENT_RUN).id
        except (NotFound, Forbidden):
            continue
    if not actor.scope_allows(Permission.AGENT_RUN):
        raise Forbidden("an agent needs a key with the scope agents:run")
    raise InvalidInput("name a workspace in the header x-mundial-workspace")


def _continued(
    thread: GatewayThread, asked: Sequence[Turn], *, agent_id: str, workspace_id: UUID
) -> GatewayTurn | None:
    """The turn that the last one follows, if its conversation ends there and nothing runs in it."""
    turn = threads.known(thread, asked, agent_id=agent_id)
    if turn is None or turn.position != len(asked) - 2:
        return None
    is_free = turn.conversation.workspace_id == workspace_id and threads.is_last(turn)
    return turn if is_free and not selectors.has_active_run(turn.conversation_id) else None


def _earlier(call: Call, asked: Sequence[Turn]) -> list[NewMessage]:
    """The client's own history before its last turn, its instructions first."""
    instructions = [call.system] if call.system.strip() else []
    instructions += [
        part.text
        for message in call.messages
        if message.role in ("system", "developer")
        for part in message.parts
        if isinstance(part, TextPart) and part.text.strip()
    ]
    found: list[NewMessage] = []
    if instructions:
        text = _bounded("\n\n".join(instructions))
        found.append(NewMessage(role=MessageRole.SYSTEM, parts=(TextPart(text=text),)))
    for turn in asked[:-1]:
        found += threads.new_messages([*turn.before, *turn.messages])
    return [*found, *threads.new_messages(asked[-1].before)]


def _request(call: Call) -> AgentRequest:
    """What the run may use: the caller's tools, its time and its money."""
    if len(call.tools) > MAX_TOOLS:
        detail = f"at most {MAX_TOOLS} tools are offered to an agent"
        raise InvalidInput(errors=[Pointer(pointer="/tools", detail=detail)])
    usual = Limits()
    ceiling = Decimal(call.ceiling_usd) if call.ceiling_usd else Decimal(usual.cost_usd)
    tools = () if call.tool_choice == "none" else call.tools
    return AgentRequest(
        prompt="",
        tools=tuple(
            ClientTool(
                name=tool.name,
                description=tool.description,
                parameters=bytes(tool.parameters).decode(),
            )
            for tool in tools
        ),
        limits=Limits(
            active_s=max(1, min(usual.active_s, int(call.deadline_s))),
            cost_usd=format(min(ceiling, Decimal(usual.cost_usd)), "f"),
        ),
    )


def _note(
    thread: GatewayThread, run: Run, asked: Sequence[Turn], *, begin: int, call: Call
) -> None:
    """Where the next call of the session goes on."""
    GatewayTurn.objects.bulk_create(
        [
            GatewayTurn(
                thread=thread,
                conversation_id=run.conversation_id,
                position=position,
                digest=asked[position].digest,
                exchange_id=call.request_id,
                asked_at=clock.now(),
                last_no=0,
            )
            for position in range(begin, len(asked))
        ],
        ignore_conflicts=True,
    )


def _bounded(text: str) -> str:
    if len(text) > frames.MAX_PROMPT_CHARS:
        raise frames.too_long("/messages", most=frames.MAX_PROMPT_CHARS)
    return text
