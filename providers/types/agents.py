"""The port through which the gateway answers as an agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from providers.types.calls import Call, CallContext
from providers.types.chunks import Chunk
from providers.types.models import ModelInfo

AGENT_PREFIX: Final = "agent/"


class AgentModels(Protocol):
    """Agents that gateway clients call like models, by names that begin with `AGENT_PREFIX`."""

    def listed(self, context: CallContext) -> Sequence[ModelInfo]:
        """The agents that this caller may run; nothing for a key that may run none. Sync."""
        ...

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer of `call.model`: Started, content, one final Usage with the run's cost, Stop.

        The run goes on while the stream is read, and is cancelled when that ends early. Its own
        calls are paid at the door; this one costs nothing more. Raises PlatformErrors.
        """
        ...
