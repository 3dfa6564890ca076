"""What came of a run, for callers that waited instead of streaming."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import UUID

from agents import journal, selectors
from agents.models import Message, RunStep
from agents.types import MessageRole, Outcome, StepKind


async def ended(run_id: UUID, *, within_s: float) -> bool:
    """Wait for the end of a run; False when it has not come in time."""
    try:
        async with asyncio.timeout(within_s), aclosing(journal.follow(run_id)) as items:
            async for _ in items:
                continue
    except TimeoutError:
        return False
    return True


def of_run(run_id: UUID) -> Outcome:
    """The run as it stands, and its answer as far as there is one; the caller has authorised."""
    run = selectors.run_by_id(run_id)
    rows = list(
        Message.objects.filter(
            conversation_id=run.conversation_id, run_id=run_id, role=MessageRole.ASSISTANT
        ).order_by("no")
    )
    parts = [part for row in rows for part in row.parts]
    last = rows[-1].parts if rows else []
    usages = RunStep.objects.filter(run_id=run_id, kind=StepKind.MODEL, usage__isnull=False)
    tokens = list(usages.values_list("usage__tokens_input", "usage__tokens_output"))
    return Outcome(
        run=run,
        content="".join(part["text"] for part in last if part["type"] == "text"),
        tool_calls=tuple(
            {"id": part["id"], "tool": part["name"], "arguments": part["arguments"]}
            for part in parts
            if part["type"] == "tool_use"
        ),
        tokens_input=sum(pair[0] for pair in tokens),
        tokens_output=sum(pair[1] for pair in tokens),
    )
