"""A request in neutral words, whatever its dialect."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from . import asides, directives, tokens
from .failures import invalid
from .reading import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call; ``namespace`` is OpenAI's group of tools."""

    name: str
    schema: JsonObject
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A call an earlier assistant turn made."""

    id: str
    name: str
    arguments: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What the client's tool answered."""

    call_id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signature that came back, and the text it must belong to."""

    text: str
    signature: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One entry of the conversation; ``media`` describes images, documents and sounds."""

    role: str  # system, user, assistant, tool
    text: str = ""
    media: tuple[str, ...] = ()
    uses: tuple[ToolUse, ...] = ()
    outcomes: tuple[ToolOutcome, ...] = ()
    signed: tuple[Signed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What was asked, and in which form the answer is wanted."""

    vendor: str
    model: str
    digest: str  # of path and body: every id in the answer is derived from it
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    forced_tool: str | None = None  # a name, or "*" for any
    parallel_tools: bool = True
    streams: bool = False
    include_usage: bool = False
    reasons: bool = False
    shows_reasoning: bool = True
    encrypts_reasoning: bool = False
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    json_schema: JsonObject | None = None  # {} means: any JSON object
    service_tier: str = "standard"
    plain_array: bool = False  # Google's stream without alt=sse
    echoed: JsonObject = field(default_factory=dict)  # request fields the answer repeats

    @property
    def input_tokens(self) -> int:
        spoken = sum(_message_tokens(message) for message in self.messages)
        return spoken + sum(tokens.count(f"{tool.name} {tool.schema}") for tool in self.tools)

    @property
    def last_user_place(self) -> int:
        """Where the user last said something; -1 when never. What only a client says is passed."""
        places = [
            place
            for place, message in enumerate(self.messages)
            if message.role == "user" and (message.text or message.media)
        ]
        spoken = [
            place
            for place in places
            if self.messages[place].media or asides.without(self.messages[place].text)
        ]
        return (spoken or places or [-1])[-1]

    @property
    def prompt(self) -> str:
        """The user's last words, directives and what the client put beside them taken out."""
        place = self.last_user_place
        if place < 0:
            return ""
        text = self.messages[place].text
        return directives.without(asides.without(text) or text)

    @property
    def exchange(self) -> tuple[Message, ...]:
        """What happened since the user last wrote: the tool rounds."""
        return self.messages[self.last_user_place + 1 :]

    def assistant_turns(self, after: int = -1) -> int:
        """How many assistant turns follow message ``after``; neighbours make one turn."""
        turns, was_assistant = 0, False
        for message in self.messages[after + 1 :]:
            is_assistant = message.role == "assistant"
            turns += is_assistant and not was_assistant
            was_assistant = is_assistant
        return turns


def _message_tokens(message: Message) -> int:
    return (
        tokens.MESSAGE_OVERHEAD_TOKENS
        + tokens.count(message.text)
        + tokens.IMAGE_TOKENS * len(message.media)
        + sum(tokens.count(f"{use.name} {use.arguments}") for use in message.uses)
        + sum(tokens.count(outcome.text) for outcome in message.outcomes)
    )


def check_pairing(messages: Sequence[Message]) -> None:
    """Every tool call is answered right after its turn, and nothing else is answered.

    Vendors refuse a broken pairing; so must their double, or the fault hides until production.
    """
    open_ids: set[str] = set()
    for place, message in enumerate(messages):
        if message.outcomes:
            _settle(open_ids, message, place)
        elif open_ids and message.role != "assistant":
            raise _unanswered(open_ids)
        open_ids.update(use.id for use in message.uses)
    if open_ids:
        raise _unanswered(open_ids)


def _settle(open_ids: set[str], message: Message, place: int) -> None:
    for outcome in message.outcomes:
        if outcome.call_id not in open_ids:
            raise invalid(
                f"messages.{place}: unexpected tool result `{outcome.call_id}`: each tool result "
                "must have a corresponding tool call in the previous assistant turn.",
                at=f"messages.[{place}]",
            )
        open_ids.discard(outcome.call_id)


def _unanswered(open_ids: set[str]) -> Exception:
    return invalid(
        "An assistant turn with tool calls must be followed by tool results responding to each "
        f"call id. Missing results for: {', '.join(sorted(open_ids))}.",
        at="messages",
    )
