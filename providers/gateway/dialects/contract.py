"""What a client dialect is: requests in as our `Call`, our chunks out as its bytes.

Pure: bytes and values, no I/O, no clock but what is handed in, no Django.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from ideplatform.kit.errors import PlatformError
from providers.types import (
    AnyPart,
    Call,
    CallContext,
    Chunk,
    Citation,
    DialectName,
    Raw,
    Started,
    Stop,
    Usage,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolName:
    """What the client calls a tool that the call names otherwise: `responses` groups tools in
    namespaces, and has custom ones, which take a plain text instead of arguments."""

    name: str
    namespace: str = ""
    is_custom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as its dialect reads it. `asks_usage` is false for clients that did not ask.

    `uses_functions`: the tools came as chat's first `functions`, and are called in those words.
    `tool_names`: by the names of `call.tools`, those of the client where they differ. `echo`: the
    members of the request that the answer repeats, and `items` its input items (responses).
    """

    call: Call
    is_streamed: bool
    asks_usage: bool = True
    is_stored: bool = False
    in_background: bool = False
    previous_response_id: str = ""
    uses_functions: bool = False
    tool_names: Mapping[str, ToolName] = field(default_factory=dict)
    echo: Mapping[str, Raw] = field(default_factory=dict)
    items: tuple[Raw, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer, for clients that do not stream.

    The `index` of a citation is the place in `parts` of the text that it is about.
    """

    started: Started
    parts: tuple[AnyPart, ...]
    usage: Usage
    stop: Stop
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a writer must know before the first chunk. `created_s` is Unix time in seconds.

    `answer_id` is the dialect's own (`chatcmpl-...`, `resp_...`, `msg_...`).
    """

    answer_id: str
    model: str
    created_s: int
    asked: Asked


class Writer(Protocol):
    """One streamed answer as bytes of server-sent events. Stateful; methods return b"" for what
    the dialect does not say. `end` is called once, after the settlement.

    A `ToolCall` is for the client to run; what ran on our side is told by its `ToolResult` alone.
    `Opaque` of the writer's own dialect is a whole content block (messages), a `delta` (chat) or
    an output item (responses). `Passed` bytes leave as they are: `end` then closes what they left
    open, and says nothing after those that ended the answer.
    """

    def start(self, started: Started) -> bytes: ...

    def chunk(self, chunk: Chunk) -> bytes: ...

    def end(self, usage: Usage, stop: Stop) -> bytes:
        """Everything up to the terminal event, with the usage and its cost."""
        ...

    def fail(self, error: PlatformError) -> bytes:
        """A fault in the middle of the answer, in the dialect's words; nothing follows it."""
        ...


class Dialect(Protocol):
    """A module of this package."""

    NAME: DialectName

    def read(
        self,
        body: bytes,
        *,
        headers: Mapping[str, str],
        request_id: UUID,
        context: CallContext,
    ) -> Asked:
        """The request. Names of headers are lower case.

        Raises InvalidInput for what is not JSON or not this dialect at all, TooLarge. Unknown keys,
        tool types, parts and roles are carried, never refused.
        """
        ...

    def writer(self, opening: Opening) -> Writer: ...

    def render(self, answer: Answer, opening: Opening) -> bytes:
        """A whole answer as JSON."""
        ...

    def problem(self, error: PlatformError, *, request_id: str) -> bytes:
        """The body of an error answer before the first byte."""
        ...
