"""The posted scripts, and which turn answers a request.

A script is named by, in this order of precedence:

1. the header ``x-sim-script`` (an id, or directive words),
2. the last ``[[sim:id]]`` of the user's messages,
3. the suffix of the key after its last colon: ``sk-anything:id``.

Which turn of it answers:

- ``by: conversation`` (the default): the n-th turn answers a request that already holds n
  assistant turns (after the message that named the script, if a message did); the last turn
  repeats. A tool dialogue is therefore the same whoever asks, in any order, any number of times.
- ``by: counter``: each dispatched request takes the next turn; the last repeats.

``before`` inside a turn lists answers for the first dispatches of that turn in that conversation:
``{"before": [{"status": 429}], "text": "works"}`` fails once and works when retried.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from . import directives
from .conversation import Conversation
from .directives import Directive
from .failures import invalid
from .script import QUIET, Script, ToolCall, Turn, merged

COUNTERS_MAX = 100_000  # the oldest counters are forgotten first
SCRIPTS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The turn that answers, and the script it came from."""

    turn: Turn
    script_id: str | None = None


class ScriptBook:
    """All posted scripts with their counters. One per server; used from its event loop only."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._counters: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self._signatures: set[str] = set()

    def post(self, script: Script) -> None:
        """Add a script, or replace the one of that id and restart its counters."""
        if script.id not in self._scripts and len(self._scripts) >= SCRIPTS_MAX:
            raise invalid(f"At most {SCRIPTS_MAX} scripts.")
        self._scripts[script.id] = script
        for key in [key for key in self._counters if key[0] == script.id]:
            del self._counters[key]
        self._signatures.update(_signatures(script.turns))

    def clear(self) -> None:
        self._scripts.clear()
        self._counters.clear()
        self._signatures.clear()

    def signs(self, signature: str) -> bool:
        """Whether some script's turn was signed so."""
        return signature in self._signatures

    def choose(self, conversation: Conversation, *, header: str | None, key: str) -> Chosen:
        """The turn for this request; raises a vendor 400 when a header or key names no script."""
        told = self._from_header(header)
        script_id, anchor = self._named(conversation, told, key)
        turn = self._turn(conversation, script_id, anchor) if script_id else QUIET
        inline = told or _latest(conversation)
        if inline:
            turn = _altered(turn, inline, conversation)
        return Chosen(turn=turn, script_id=script_id)

    def _from_header(self, header: str | None) -> Directive | None:
        if header is None:
            return None
        if directive := directives.parse(header):
            return directive
        raise invalid(f"x-sim-script is not understood: {header[:80]!r}.")

    def _named(
        self, conversation: Conversation, told: Directive | None, key: str
    ) -> tuple[str | None, int]:
        """The script id, and the place of the message that named it (-1 when none did)."""
        if told and told.script_id:
            return self._existing(told.script_id), -1
        for place in range(len(conversation.messages) - 1, -1, -1):
            message = conversation.messages[place]
            found = directives.find(message.text) if message.role == "user" else None
            if found and found.script_id in self._scripts:
                return found.script_id, place
        suffix = key.rpartition(":")[2] if ":" in key else ""
        return (self._existing(suffix) if suffix else None), -1

    def _existing(self, script_id: str) -> str:
        if script_id in self._scripts:
            return script_id
        raise invalid(f"No script {script_id[:80]!r} was posted to the simulated provider.")

    def _turn(self, conversation: Conversation, script_id: str, anchor: int) -> Turn:
        script = self._scripts[script_id]
        if script.by == "counter":
            index = self._next(script_id)
        else:
            index = conversation.assistant_turns(after=anchor)
        turn = script.turns[min(index, len(script.turns) - 1)]
        if not turn.before:
            return turn
        dispatch = self._next(script_id, str(index), _fingerprint(conversation))
        return turn.before[dispatch] if dispatch < len(turn.before) else turn

    def _next(self, *key: str) -> int:
        count = self._counters.pop(key, 0)
        self._counters[key] = count + 1
        if len(self._counters) > COUNTERS_MAX:
            self._counters.popitem(last=False)
        return count


def _latest(conversation: Conversation) -> Directive | None:
    place = conversation.last_user_place
    return directives.find(conversation.messages[place].text) if place >= 0 else None


def _altered(turn: Turn, directive: Directive, conversation: Conversation) -> Turn:
    changes = dict(directive.changes)
    if directive.tool and not any(message.outcomes for message in conversation.exchange):
        changes["tool_calls"] = (ToolCall(name=directive.tool),)
    return merged(turn, changes) if changes else turn


def _fingerprint(conversation: Conversation) -> str:
    """The same for a retry, also of another model or dialect; different for other words."""
    said = "\x00".join(f"{message.role}\x01{message.text}" for message in conversation.messages)
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _signatures(turns: tuple[Turn, ...]) -> set[str]:
    found = {turn.signature for turn in turns if turn.signature}
    for turn in turns:
        found |= _signatures(turn.before)
    return found
