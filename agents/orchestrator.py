"""Which agent answers a request. Pure rules, decided without asking a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from agents import catalog
from agents.types import AgentRequest, Plan, PlanStep

_MENTION = re.compile(r"(?:^|\s)@([A-Za-z0-9][A-Za-z0-9._-]*)")
CERTAIN = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known around a request: who answered in this conversation before."""

    former_agent_id: str = ""


def route(request: AgentRequest, context: Context | None = None) -> Plan:
    """The plan of a request: an `@agent` mention, the pinned agent, whoever answered before in
    this conversation, else `universal`; the first rule that names an agent decides."""
    for agent_id, reason in (
        (_mentioned(request.prompt), "mentioned"),
        (request.agent_id, "pinned"),
        (context.former_agent_id if context else "", "continues"),
    ):
        if agent_id:
            return _plan(request, agent_id, reason)
    return _plan(request, catalog.DEFAULT, "default")


def _plan(request: AgentRequest, agent_id: str, reason: str) -> Plan:
    step = PlanStep(id="1", agent_id=agent_id, prompt=request.prompt)
    return Plan(steps=(step,), reason=reason, confidence=CERTAIN)


def _mentioned(prompt: str) -> str:
    """The first known agent that the prompt mentions."""
    names = (match[1].rstrip(".-") for match in _MENTION.finditer(prompt))
    return next((card.id for name in names if (card := catalog.card(name))), "")
