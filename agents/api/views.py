"""`/api/v1/agents`, `/runs`, `/conversations`."""

from __future__ import annotations

import threading
from uuid import UUID

from asgiref.sync import async_to_sync
from django.db import connection
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.services import access
from accounts.types import Actor, Permission
from agents import catalog, selectors
from agents.api import serializers, sse
from agents.api.queries import identifier, number, text
from agents.journal import store
from agents.services import catalogue, conversations, outcomes, requests, runs
from agents.types import ConversationVisibility, Outcome, Run, RunState
from ideplatform.kit import paging
from ideplatform.kit.errors import NotFound
from ideplatform.kit.renderers import JSONRenderer
from ideplatform.kit.serializers import read
from workspaces.services import access as workspace_access

EVENTS_MOST = 1_000
WAITING_MOST = 64
"""Callers that may wait for an answer at once, per process; the next get 202 at once."""

_waiting = threading.BoundedSemaphore(WAITING_MOST)


class Agents(APIView):
    permissions = {"GET": Permission.RUN_READ}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        access.authorise_listing(actor, Permission.RUN_READ)
        listed = catalogue.listed(actor=actor, workspace_id=identifier(request, "workspace_id"))
        return Response({"items": [serializers.agent(one) for one in listed]})


class AgentHistory(APIView):
    permissions = {"GET": Permission.RUN_READ}

    def get(self, request: Request, agent_id: str) -> Response:
        return _conversations(request, agent_id=_known(agent_id))


class AgentInvoke(APIView):
    permissions = {"POST": Permission.AGENT_RUN}
    renderer_classes = [JSONRenderer, sse.EventStreamRenderer]

    def post(self, request: Request, agent_id: str) -> HttpResponseBase:
        form = serializers.InvokeForm(data=request.data)
        form.is_valid(raise_exception=True)
        request_id = request.headers.get("Idempotency-Key", "")
        wanted = form.wanted(agent_id=_known(agent_id), request_id=request_id)
        actor = actor_of(request)
        run = requests.open_run(actor=actor, wanted=wanted)
        if sse.is_wanted(request):
            return sse.response(run, actor, after=sse.after(request))
        outcome = _awaited(run, form.validated_data["wait_s"])
        return Response(
            serializers.outcome(outcome),
            status=200 if outcome.run.is_over else 202,
            headers={"Location": f"/api/v1/runs/{run.id}"},
        )


class Runs(APIView):
    permissions = {"GET": Permission.RUN_READ}

    def get(self, request: Request) -> Response:
        actor = actor_of(request)
        access.authorise_listing(actor, Permission.RUN_READ)
        workspace_id = _workspace_id(request, actor)
        conversation_id = identifier(request, "conversation_id")
        if conversation_id is not None:
            conversations.readable(actor=actor, conversation_id=conversation_id)
        state = text(request, "state", one_of=[state.value for state in RunState])
        found = selectors.runs_of(
            actor, workspace_id=workspace_id, conversation_id=conversation_id, state=state
        )
        page = paging.page(
            found,
            order=("-created_at", "-id"),
            scope=f"runs:{actor.user_id}:{actor.api_key_id}:{workspace_id}:{conversation_id}:{state}",
            cursor=text(request, "cursor"),
            limit=paging.read_limit(request.query_params.get("limit")),
        )
        items = [serializers.run(selectors.as_run(row)) for row in page.items]
        return Response({"items": items, "next_cursor": page.next_cursor})


class OneRun(APIView):
    permissions = {"GET": Permission.RUN_READ}

    def get(self, request: Request, run_id: UUID) -> Response:
        return Response(serializers.run(runs.readable(actor=actor_of(request), run_id=run_id)))


class RunEvents(APIView):
    permissions = {"GET": Permission.RUN_READ}
    renderer_classes = [JSONRenderer, sse.EventStreamRenderer]

    def get(self, request: Request, run_id: UUID) -> HttpResponseBase:
        actor = actor_of(request)
        run = runs.readable(actor=actor, run_id=run_id)
        after = sse.after(request)
        if sse.is_wanted(request):
            return sse.response(run, actor, after=after)
        limit = number(request, "limit", default=EVENTS_MOST, most=EVENTS_MOST)
        stretch = store.read(run_id, start=after + 1, limit=limit)
        frames_ = b",".join(entry.wire() for entry in stretch.entries)
        last = stretch.entries[-1].seq if stretch.entries else after
        body = b'{"items":[%s],"next_after":%d}' % (frames_, last)
        return HttpResponse(body, content_type="application/json")


class RunCancel(APIView):
    permissions = {"POST": Permission.AGENT_RUN}

    def post(self, request: Request, run_id: UUID) -> Response:
        run = runs.cancel(actor=actor_of(request), run_id=run_id)
        return Response(serializers.run(run), status=200 if run.is_over else 202)


class Conversations(APIView):
    permissions = {"GET": Permission.RUN_READ}

    def get(self, request: Request) -> Response:
        return _conversations(request, agent_id=text(request, "agent_id"))


class OneConversation(APIView):
    permissions = {"GET": Permission.RUN_READ, "PATCH": Permission.AGENT_RUN}

    def get(self, request: Request, conversation_id: UUID) -> Response:
        row = conversations.readable(actor=actor_of(request), conversation_id=conversation_id)
        return Response(serializers.conversation(row))

    def patch(self, request: Request, conversation_id: UUID) -> Response:
        form = read(serializers.ConversationForm, request)
        row = conversations.share(
            actor=actor_of(request),
            conversation_id=conversation_id,
            visibility=ConversationVisibility(form["visibility"]),
        )
        return Response(serializers.conversation(row))


class Messages(APIView):
    permissions = {"GET": Permission.RUN_READ}

    def get(self, request: Request, conversation_id: UUID) -> Response:
        row = conversations.readable(actor=actor_of(request), conversation_id=conversation_id)
        page = paging.page(
            selectors.messages(row.pk),
            order=("no",),
            scope=f"messages:{row.pk}",
            cursor=text(request, "cursor"),
            limit=paging.read_limit(request.query_params.get("limit")),
        )
        items = [serializers.message(message) for message in page.items]
        return Response({"items": items, "next_cursor": page.next_cursor})


def _conversations(request: Request, *, agent_id: str) -> Response:
    actor = actor_of(request)
    access.authorise_listing(actor, Permission.RUN_READ)
    workspace_id = _workspace_id(request, actor)
    page = paging.page(
        selectors.conversations_of(actor, workspace_id=workspace_id, agent_id=agent_id),
        order=("-updated_at", "-id"),
        scope=f"conversations:{actor.user_id}:{actor.api_key_id}:{workspace_id}:{agent_id}",
        cursor=text(request, "cursor"),
        limit=paging.read_limit(request.query_params.get("limit")),
    )
    items = [serializers.conversation(row) for row in page.items]
    return Response({"items": items, "next_cursor": page.next_cursor})


def _workspace_id(request: Request, actor: Actor) -> UUID | None:
    """The workspace of a filter; a foreign one is answered like one that is not there."""
    workspace_id = identifier(request, "workspace_id")
    if workspace_id is not None:
        workspace_access.workspace(actor, workspace_id, Permission.RUN_READ)
    return workspace_id


def _known(agent_id: str) -> str:
    card = catalog.card(agent_id)
    if card is None:
        raise NotFound
    return card.id


def _awaited(run: Run, wait_s: int) -> Outcome:
    """Wait for the end, without a database connection, if there is a place to wait."""
    if wait_s and not run.is_over and _waiting.acquire(blocking=False):
        try:
            if not connection.in_atomic_block:
                connection.close()
            async_to_sync(outcomes.ended)(run.id, within_s=wait_s)
        finally:
            _waiting.release()
    return outcomes.of_run(run.id)
