"""What the agents' REST accepts and answers."""

from __future__ import annotations

from typing import Any

import msgspec
from rest_framework import serializers

from agents import frames
from agents.models import Conversation, Message
from agents.services.catalogue import Listed
from agents.services.requests import Wanted
from agents.types import ConversationVisibility, Outcome, Run
from ideplatform.kit import clock
from ideplatform.kit.serializers import StrictSerializer

MAX_WAIT_S = 120
DEFAULT_WAIT_S = 60


class MessageForm(StrictSerializer):
    role = serializers.CharField(max_length=20)
    content = serializers.CharField(allow_blank=True, trim_whitespace=False)


class LimitsForm(StrictSerializer):
    steps = serializers.IntegerField(required=False)
    model_calls = serializers.IntegerField(required=False)
    tool_calls = serializers.IntegerField(required=False)
    tokens = serializers.IntegerField(required=False)
    cost_usd = serializers.CharField(max_length=40, required=False)
    active_s = serializers.IntegerField(required=False)


class InvokeForm(StrictSerializer):
    prompt = serializers.CharField(required=False, default="", trim_whitespace=False)
    messages = MessageForm(many=True, required=False)
    workspace_id = serializers.UUIDField(required=False)
    conversation_id = serializers.UUIDField(required=False)
    model = serializers.CharField(max_length=255, required=False, default="")
    provider_id = serializers.UUIDField(required=False)
    limits = LimitsForm(required=False)
    wait_s = serializers.IntegerField(
        required=False, default=DEFAULT_WAIT_S, min_value=0, max_value=MAX_WAIT_S
    )

    def wanted(self, *, agent_id: str, request_id: str) -> Wanted:
        """The request, bound to the agent of the path and the idempotency key of the head."""
        form = self.validated_data
        limits = form.get("limits")
        return Wanted(
            prompt=form["prompt"],
            messages=[frames.SeedMessage(**message) for message in form.get("messages", ())],
            agent_id=agent_id,
            workspace_id=form.get("workspace_id"),
            conversation_id=form.get("conversation_id"),
            request_id=request_id,
            model=form["model"],
            provider_id=form.get("provider_id"),
            limits=frames.RunLimits(**limits) if limits else None,
        )


class ConversationForm(StrictSerializer):
    visibility = serializers.ChoiceField([v.value for v in ConversationVisibility])


def agent(listed: Listed) -> dict[str, object]:
    card = listed.card
    return {
        "id": card.id,
        "name": card.name,
        "description": card.description,
        "alias": card.alias,
        "modes": list(card.modes),
        "tools": list(card.tools),
        "is_ready": listed.is_ready,
        "models": list(listed.models),
        "obstacles": list(listed.obstacles),
    }


def run(found: Run) -> dict[str, object]:
    return {
        "id": found.id,
        "conversation_id": found.conversation_id,
        "workspace_id": found.workspace_id,
        "agent_id": found.agent_id,
        "state": found.state.value,
        "last_seq": found.last_seq,
        "attempt": found.attempt,
        "limits": msgspec.to_builtins(found.limits),
        "spent": msgspec.to_builtins(found.spent),
        "error": found.error,
        "created_at": clock.rfc3339(found.created_at),
        "started_at": found.started_at and clock.rfc3339(found.started_at),
        "ended_at": found.ended_at and clock.rfc3339(found.ended_at),
    }


def outcome(found: Outcome) -> dict[str, object]:
    """What `invoke` answers: the run's end, or where it stands."""
    run_ = found.run
    return {
        "run_id": run_.id,
        "conversation_id": run_.conversation_id,
        "workspace_id": run_.workspace_id,
        "agent_id": run_.agent_id,
        "state": run_.state.value,
        "content": found.content,
        "tool_calls": list(found.tool_calls),
        "usage": {
            "tokens_input": found.tokens_input,
            "tokens_output": found.tokens_output,
            "total_tokens": run_.spent.tokens,
        },
        "cost_usd": run_.spent.cost_usd,
        "error": run_.error,
    }


def conversation(row: Conversation) -> dict[str, object]:
    return {
        "id": row.pk,
        "workspace_id": row.workspace_id,
        "user_id": row.user_id,
        "agent_id": row.agent_id,
        "title": row.title,
        "origin": row.origin,
        "visibility": row.visibility,
        "created_at": clock.rfc3339(row.created_at),
        "updated_at": clock.rfc3339(row.updated_at),
    }


def message(row: Message) -> dict[str, object]:
    return {
        "no": row.no,
        "role": row.role,
        "parts": [_part(part) for part in row.parts],
        "run_id": row.run_id,
        "author_id": row.author_id,
        "model": row.model,
        "created_at": clock.rfc3339(row.created_at),
    }


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part as clients see it: signatures of thinking stay on the server."""
    return {name: value for name, value in part.items() if name != "signature"}
