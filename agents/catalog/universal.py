"""The general assistant: answers from the conversation alone, without tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from agents import dialogue, frames, prompting
from agents.session import Session
from agents.types import AgentCard, PlanStep

CARD = AgentCard(
    id="universal",
    name="Universal",
    description="Answers questions and explains; it does not see the workspace's files.",
    alias="default/universal",
)
_PROMPT = """\
You are the universal assistant of an IDE. Answer the question that was asked, precisely and \
without padding. Use Markdown; put code in fenced blocks with their language. You do not see the \
workspace's files: when an answer depends on them, say which you would need, or suggest asking \
@coder. Say so when you do not know."""


async def act(step: PlanStep, context: Session) -> AsyncGenerator[frames.Event]:
    """One answer of the model to the conversation."""
    prompt = prompting.compose(system=_PROMPT, history=context.history)
    turns = dialogue.converse(step, context, prompt=prompt, alias=CARD.alias, offered=())
    async with aclosing(turns) as events:
        async for event in events:
            yield event
