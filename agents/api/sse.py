"""Server-sent events of a run: `id:` is the seq, so a browser resumes by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from uuid import UUID

from django.http import StreamingHttpResponse
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from accounts.services import feed
from accounts.types import Actor
from agents import frames, journal
from agents.journal import Entry
from agents.services import actors
from agents.types import Run
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown, InvalidInput, Pointer, Unauthenticated

MEDIA_TYPE = "text/event-stream"
COMMENT_S = 15.0
TICK_S = 0.5


class EventStreamRenderer(BaseRenderer):
    """Takes part in negotiation; the view answers with the stream itself."""

    media_type, format, charset = MEDIA_TYPE, "events", "utf-8"


def is_wanted(request: Request) -> bool:
    """Whether the client asked for a stream."""
    return request.accepted_media_type == MEDIA_TYPE


def after(request: Request) -> int:
    """The cursor of `Last-Event-ID`, else of `?after=`; 0 without; raises InvalidInput."""
    text = request.headers.get("Last-Event-ID") or request.query_params.get("after") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInput(errors=[Pointer(pointer="/after", detail="a sequence number")])
    return int(text)


def response(run: Run, actor: Actor, *, after: int) -> StreamingHttpResponse:
    """The run's frames after a cursor, as they happen, to its end."""
    answer = StreamingHttpResponse(_stream(run, actor, after), content_type=MEDIA_TYPE)
    answer["Cache-Control"] = "no-store"
    answer["X-Accel-Buffering"] = "no"
    answer["X-Run-Id"] = str(run.id)
    return answer


async def _stream(run: Run, actor: Actor, after: int) -> AsyncGenerator[bytes]:
    watch = _Watch(run, actor)
    spoke_at = time.monotonic()
    async with aclosing(journal.follow(run.id, after=after)) as items:
        upcoming = asyncio.ensure_future(anext(items))
        try:
            while True:
                done, _ = await asyncio.wait([upcoming], timeout=TICK_S)
                if await watch.is_over():
                    return
                if done:
                    yield _event(upcoming.result())
                    upcoming = asyncio.ensure_future(anext(items))
                elif time.monotonic() - spoke_at > COMMENT_S:
                    yield b": still here\n\n"
                else:
                    continue
                spoke_at = time.monotonic()
        except StopAsyncIteration:
            return
        finally:
            upcoming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await upcoming


class _Watch:
    """Whether the reader may still read: asked again when somebody's rights have shrunk."""

    def __init__(self, run: Run, actor: Actor) -> None:
        self._run_id: UUID = run.id
        self._actor = actor
        ids = (
            actor.user_id,
            actor.session_id,
            actor.api_key_id,
            run.workspace_id,
            run.organization_id,
        )
        self._subjects = [subject for subject in ids if subject is not None]
        feed.is_fresh()
        self._mark = self._latest()

    async def is_over(self) -> bool:
        latest = self._latest()
        if latest == self._mark:
            return False
        try:
            lost = await run_db(actors.lost_runs, actor=self._actor, run_ids=[self._run_id])
        except Unauthenticated:
            return True
        except DatabaseDown:
            return False
        self._mark = latest
        return bool(lost)

    def _latest(self) -> int:
        return max(feed.latest(subject) for subject in self._subjects)


def _event(item: Entry | frames.ServerFrame) -> bytes:
    if isinstance(item, Entry):
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.seq, item.type.encode(), item.wire())
    name = str(item.__struct_config__.tag).encode()
    return b"event: %s\ndata: %s\n\n" % (name, frames.encode(item))
