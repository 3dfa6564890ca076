"""The script language: what a turn can say, and how it can go wrong.

A script is ``{"id": ..., "turns": [...], "by": "conversation" | "counter"}``, posted to
``/__scripts``. A turn without ``text``, ``tokens`` or ``tool_calls`` lets the model answer by
itself (echo or coder) and only adds the named faults and delays.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,80}$")]
Count = Annotated[int, Meta(ge=0, le=10_000_000)]
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
Status = Annotated[int, Meta(ge=400, le=599)]
Stop = Literal["end", "length", "tool_calls", "stop_sequence", "content_filter", "refusal", "pause"]


class Usage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens in disjoint classes. ``tool_prompt`` is the part of ``input`` Google lists apart."""

    input: Count = 0
    cache_read: Count = 0
    cache_write_5m: Count = 0
    cache_write_1h: Count = 0
    cache_write_30m: Count = 0
    cache_write_12h: Count = 0
    output: Count = 0
    output_reasoning: Count = 0
    tool_prompt: Count = 0

    @property
    def cache_write(self) -> int:
        return (
            self.cache_write_5m + self.cache_write_1h + self.cache_write_30m + self.cache_write_12h
        )

    @property
    def prompt(self) -> int:
        """Everything read, cached or not: OpenAI's and Google's inclusive figure."""
        return self.input + self.cache_read + self.cache_write

    @property
    def completion(self) -> int:
        return self.output + self.output_reasoning


class ToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call the model makes. A string as ``arguments`` is sent verbatim, valid JSON or not."""

    name: str
    arguments: dict[str, object] | str = {}
    id: str | None = None
    signature: str | None = None  # of the thought behind it, in chat completions


class Image(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture the model makes; ``data`` is base64."""

    data: str
    media_type: str = "image/png"


class Citation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of the text."""

    url: str
    title: str = ""
    cited: str = ""


class Turn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. Faults count output tokens of the stream (thinking included), from 0."""

    text: str | None = None
    tokens: Annotated[int, Meta(ge=0, le=200_000)] | None = None  # text of that many words
    thinking: str | None = None
    signature: str | None = None  # of the thinking; base64 for Google; default: the right one
    redacted: str | None = None  # Anthropic redacted_thinking data
    tells_details: bool = False  # chat: reasoning signed, in ``reasoning_details``
    images: tuple[Image, ...] = ()  # not in messages
    citations: tuple[Citation, ...] = ()
    blocks: tuple[dict[str, object], ...] = ()  # whole blocks (messages) or items (responses)
    tool_calls: tuple[ToolCall, ...] = ()
    stop: Stop | None = None
    acts_as: Literal["echo", "coder"] | None = None  # whose behaviour, when nothing is scripted

    usage: Usage | None = None  # what is charged and reported, instead of the honest count
    reported: Usage | None = None  # a lie: told to the client, never charged
    raw_usage: dict[str, object] | None = None  # told verbatim as the vendor's usage object
    no_usage: bool = False  # tells none
    ignores_max_tokens: bool = False

    first_delay_ms: Milliseconds = 0  # before the response head
    token_delay_ms: Milliseconds = 0  # before each further token
    status: Status | None = None  # refuse with the vendor's envelope
    message: str | None = None
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None  # seconds
    cut_after_tokens: Count | None = None  # close the connection without an end
    malformed_at: Count | None = None  # that token's event is broken JSON; then goes on
    hang_at: Count | None = None  # send nothing more, keep the connection
    error_at: Count | None = None  # the vendor's error event inside the stream; ends it
    giant_line: Annotated[int, Meta(ge=0, le=64 * 2**20)] = 0  # pads the first token's line; bytes
    split_utf8: bool = False  # network writes end inside a character
    crlf: bool = False  # events end in CR LF
    strange: bool = False  # events of an unknown kind, and known names of an unknown shape
    comments: bool = False  # a comment line before every event
    cumulative_usage: bool = False  # usage so far repeated with every token
    no_done: bool = False  # no [DONE] / message_stop

    before: tuple["Turn", ...] = ()  # answers to the first dispatches of this very turn, one each

    @property
    def speaks(self) -> bool:
        """Whether the turn says itself what is answered."""
        return self.text is not None or self.tokens is not None or bool(self.tool_calls)


class Script(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Named turns. See ``scripts`` for which one answers."""

    id: Name
    turns: Annotated[tuple[Turn, ...], Meta(min_length=1, max_length=1_000)]
    by: Literal["conversation", "counter"] = "conversation"


QUIET = Turn()


def merged(turn: Turn, changes: dict[str, object]) -> Turn:
    """The turn with some fields replaced, checked like a posted one."""
    fields = {name: getattr(turn, name) for name in turn.__struct_fields__}
    return msgspec.convert(msgspec.to_builtins({**fields, **changes}), Turn)
