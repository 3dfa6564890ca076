"""Which agent answers: rules, the first that names one decides."""

from __future__ import annotations

import pytest

from agents import catalog, orchestrator
from agents.errors import UnknownAgent
from agents.orchestrator import Context
from agents.types import AgentRequest


@pytest.mark.parametrize(
    ("prompt", "pinned", "former", "agent", "reason"),
    [
        ("hello", "", "", "universal", "default"),
        ("hello", "coder", "", "coder", "pinned"),
        ("hello", "", "coder", "coder", "continues"),
        ("hello", "universal", "coder", "universal", "pinned"),
        ("please @coder, fix it", "universal", "", "coder", "mentioned"),
        ("@Coder. fix it", "", "", "coder", "mentioned"),
        ("ask @nobody or @coder", "", "", "coder", "mentioned"),
        ("mail me@coder now", "", "", "universal", "default"),
    ],
)
def test_rules_decide_in_order(prompt, pinned, former, agent, reason):
    request = AgentRequest(prompt=prompt, agent_id=pinned)
    plan = orchestrator.route(request, Context(former_agent_id=former))
    assert [step.agent_id for step in plan.steps] == [agent]
    assert plan.reason == reason


def test_ids_ignore_case_and_unknown_ones_are_refused():
    assert catalog.canonical("CODER") == "coder"
    assert catalog.canonical("") == ""
    with pytest.raises(UnknownAgent):
        catalog.canonical("architect")
