"""The port through which agents answer as models; `ideplatform.ports` fills it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from providers.errors import ModelNotFound
from providers.types import AgentModels, Call, CallContext, Chunk, ModelInfo

_filled: list[AgentModels] = []


def fill(port: AgentModels) -> None:
    """Called once per process, before any request."""
    _filled[:] = [port]


def listed(context: CallContext) -> Sequence[ModelInfo]:
    """The agents that this caller may run. Sync."""
    return _filled[0].listed(context) if _filled else ()


def stream(call: Call) -> AsyncGenerator[Chunk, None]:
    """The answer of an agent; raises ModelNotFound where the process knows none."""
    if not _filled:
        raise ModelNotFound(model=call.model)
    return _filled[0].stream(call)
