"""The agents of the platform. Each is a module with a `CARD` and `act`, and keeps no state."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from agents import frames
from agents.catalog import coder, universal
from agents.errors import UnknownAgent
from agents.session import Session
from agents.types import AgentCard, PlanStep
from ideplatform.kit.errors import Pointer


class Agent(Protocol):
    """What an agent's module offers."""

    CARD: AgentCard

    def act(self, step: PlanStep, context: Session) -> AsyncGenerator[frames.Event]:
        """Do one step of a plan; what is yielded goes into the run's journal."""


DEFAULT = universal.CARD.id
_AGENTS: dict[str, Agent] = {universal.CARD.id: universal, coder.CARD.id: coder}


def cards() -> list[AgentCard]:
    """Every agent, in the order in which people see them."""
    return [agent.CARD for agent in _AGENTS.values()]


def card(agent_id: str) -> AgentCard | None:
    """An agent by its id, whose case does not matter."""
    agent = _AGENTS.get(agent_id.lower())
    return agent.CARD if agent else None


def agent(agent_id: str) -> Agent:
    """An agent by its canonical id."""
    return _AGENTS[agent_id]


def canonical(agent_id: str) -> str:
    """The id as the platform writes it, "" for ""; raises UnknownAgent."""
    if not agent_id:
        return ""
    found = card(agent_id)
    if found is None:
        known = ", ".join(_AGENTS)
        raise UnknownAgent(errors=[Pointer(pointer="/agent_id", detail=f"one of {known}")])
    return found.id
