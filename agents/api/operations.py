"""What each of the agents' REST methods takes, answers and refuses (see `kit.openapi`)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec

from agents.api import answers, serializers, sse, views
from agents.errors import RunAlreadyActive
from agents.types import RunState
from ideplatform.kit.errors import IdempotencyKeyReused
from ideplatform.kit.openapi import Operation, Page, Parameter, describe
from providers.errors import ModelNotFound, NoReadyTarget

IN_WORKSPACE = Parameter("workspace_id", UUID, "Only of this workspace.")
AFTER = Parameter(
    "after", Annotated[int, msgspec.Meta(ge=0)], "The last event that you have; 0 for none."
)
LAST_EVENT = Parameter("Last-Event-ID", str, "The same as `after`, as browsers send it.")

describe(
    views.Agents,
    GET=Operation(
        "list_agents",
        "Every agent, and whether it can answer now.",
        answer=answers.Agents,
        query=(Parameter("workspace_id", UUID, "Judge as in this workspace."),),
    ),
)
describe(
    views.AgentInvoke,
    POST=Operation(
        "invoke_agent",
        "Ask an agent and wait for its answer, or follow it with `Accept: text/event-stream`.",
        answer=answers.RunOutcome,
        answer_headers={"Location": "The run."},
        downloads=(sse.MEDIA_TYPE,),
        also={202: "The run goes on; its outcome so far."},
        body=serializers.InvokeForm,
        example={
            "prompt": "What does this project do?",
            "workspace_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e70",
            "limits": {"steps": 10, "cost_usd": "0.50"},
            "wait_s": 0,
        },
        headers=(
            Parameter("Idempotency-Key", str, "The same key and body are the same run."),
            LAST_EVENT,
        ),
        problems=(IdempotencyKeyReused, RunAlreadyActive, ModelNotFound, NoReadyTarget),
    ),
)
describe(
    views.AgentHistory,
    GET=Operation(
        "list_agent_history",
        "Your conversations with an agent, and those shared with you, newest first.",
        answer=answers.Conversations,
        query=(IN_WORKSPACE, *Page),
    ),
)
describe(
    views.Runs,
    GET=Operation(
        "list_runs",
        "The runs you may read, newest first.",
        answer=answers.Runs,
        query=(
            IN_WORKSPACE,
            Parameter("conversation_id", UUID, "Only of this conversation."),
            Parameter("state", RunState, "Only runs in this state."),
            *Page,
        ),
    ),
)
describe(
    views.OneRun,
    GET=Operation("read_run", "One run.", answer=answers.Run),
)
describe(
    views.RunEvents,
    GET=Operation(
        "list_run_events",
        "A run's events after a cursor; with `Accept: text/event-stream` also those to come.",
        answer=answers.RunEvents,
        downloads=(sse.MEDIA_TYPE,),
        query=(
            AFTER,
            Parameter(
                "limit",
                Annotated[int, msgspec.Meta(ge=1, le=views.EVENTS_MOST)],
                "Events of the page.",
            ),
        ),
        headers=(LAST_EVENT,),
    ),
)
describe(
    views.RunCancel,
    POST=Operation(
        "cancel_run",
        "Ask a run to end within a second.",
        status=202,
        answer=answers.Run,
        also={200: "It was over already."},
    ),
)
describe(
    views.Conversations,
    GET=Operation(
        "list_conversations",
        "Your conversations and those shared with you, newest first.",
        answer=answers.Conversations,
        query=(IN_WORKSPACE, Parameter("agent_id", str, "Only with this agent."), *Page),
    ),
)
describe(
    views.OneConversation,
    GET=Operation("read_conversation", "One conversation.", answer=answers.Conversation),
    PATCH=Operation(
        "share_conversation",
        "Share a conversation with the workspace, or take that back.",
        answer=answers.Conversation,
        body=serializers.ConversationForm,
        example={"visibility": "workspace"},
    ),
)
describe(
    views.Messages,
    GET=Operation(
        "list_messages",
        "What was said in a conversation.",
        answer=answers.ConversationMessages,
        query=Page,
    ),
)
