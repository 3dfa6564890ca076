"""Every kind of actor at every route and frame of agents."""

from __future__ import annotations

from uuid import UUID

import pytest

from accounts.types import Permission as P
from agents.services import conversations, requests, runs
from agents.services.requests import Wanted
from agents.types import ConversationVisibility
from tests.house import matrix
from tests.house.matrix import Route, World


def a_shared_run(world: World) -> dict[str, str]:
    """A run of the editor in a conversation that the workspace may read."""
    actor = world.actor("ws_editor")
    wanted = Wanted(prompt="hello", workspace_id=world.workspace.pk)
    run = requests.open_run(actor=actor, wanted=wanted)
    conversations.share(
        actor=actor,
        conversation_id=run.conversation_id,
        visibility=ConversationVisibility.WORKSPACE,
    )
    return {"run_id": str(run.id), "conversation_id": str(run.conversation_id)}


ROUTES = [
    Route("GET", "/api/v1/agents", P.RUN_READ, at="listing"),
    Route("GET", "/api/v1/agents?workspace_id={workspace_id}", P.RUN_READ),
    Route("GET", "/api/v1/agents/coder/history", P.RUN_READ, at="listing"),
    Route(
        "POST",
        "/api/v1/agents/universal/invoke",
        P.AGENT_RUN,
        body={"workspace_id": "{workspace_id}", "prompt": "hello", "wait_s": 0},
    ),
    Route("GET", "/api/v1/runs", P.RUN_READ, at="listing"),
    Route("GET", "/api/v1/runs/{run_id}", P.RUN_READ, prepare=a_shared_run),
    Route("GET", "/api/v1/runs/{run_id}/events", P.RUN_READ, prepare=a_shared_run),
    Route("POST", "/api/v1/runs/{run_id}/cancel", P.AGENT_RUN, prepare=a_shared_run),
    Route("GET", "/api/v1/conversations", P.RUN_READ, at="listing"),
    Route("GET", "/api/v1/conversations/{conversation_id}", P.RUN_READ, prepare=a_shared_run),
    Route(
        "GET", "/api/v1/conversations/{conversation_id}/messages", P.RUN_READ, prepare=a_shared_run
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


@pytest.mark.django_db
def test_starting_a_run_by_frame():
    def start(actor, world):
        wanted = Wanted(prompt="hello", workspace_id=world.workspace.pk)
        requests.open_run(actor=actor, wanted=wanted)

    matrix.check_call("frame start", P.AGENT_RUN, start)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("frame", "permission", "service"),
    [
        ("subscribe", P.RUN_READ, runs.readable),
        ("cancel", P.AGENT_RUN, runs.cancel),
    ],
)
def test_frames_about_a_run(frame, permission, service):
    def call(actor, world):
        service(actor=actor, run_id=UUID(a_shared_run(world)["run_id"]))

    matrix.check_call(f"frame {frame}", permission, call)
