"""Instructions written into a prompt.

Grammar::

    directive = "[[sim:" [script-id] {" " key "=" value} "]]"

``[[sim:flaky]]`` chooses the posted script ``flaky``; it holds for the rest of the conversation.
``[[sim:tokens=200 delay=5]]`` shapes the answers to this one user message (its tool rounds too);
both may stand together, the pairs then override each turn of the script.

=============  ==========================  ==========================================
key            turn field                  meaning
=============  ==========================  ==========================================
tokens         tokens                      answer with that many words
delay          token_delay_ms              milliseconds before each token
first          first_delay_ms              milliseconds before the response head
think          thinking                    think that many words first
as             acts_as                     ``echo`` or ``coder``, whatever the model
tool           tool_calls                  call that tool once, then answer
status         status                      refuse with that HTTP status
retry_after    retry_after                 seconds
cut hang malformed error                   ``*_at``, ``cut_after_tokens``: at that token
giant          giant_line                  bytes
split_utf8 crlf comments cumulative no_done no_usage ignores_max   flags: ``=1``
=============  ==========================  ==========================================

A directive that is not well formed is ordinary text; a script id that was not posted is ignored.
The same words without brackets may stand in the header ``x-sim-script``, where an error is a 400.
"""

import re
from dataclasses import dataclass, field

from . import tokens
from .script import QUIET, merged

_DIRECTIVE = re.compile(r"\[\[sim:([^\[\]\n]{1,400})\]\]")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_FIELDS = {
    "delay": "token_delay_ms",
    "first": "first_delay_ms",
    "status": "status",
    "retry_after": "retry_after",
    "cut": "cut_after_tokens",
    "hang": "hang_at",
    "malformed": "malformed_at",
    "error": "error_at",
    "giant": "giant_line",
}
_FLAGS = {
    "split_utf8": "split_utf8",
    "crlf": "crlf",
    "comments": "comments",
    "cumulative": "cumulative_usage",
    "no_done": "no_done",
    "no_usage": "no_usage",
    "ignores_max": "ignores_max_tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A script id, changes to the turn, or both; ``tool`` names a tool to call once."""

    script_id: str | None = None
    changes: dict[str, object] = field(default_factory=dict)
    tool: str | None = None


def find(text: str) -> Directive | None:
    """The last well-formed directive of a text."""
    if "[[sim:" not in text:  # the common case, on every message of every request
        return None
    for words in reversed(_DIRECTIVE.findall(text)):
        if directive := parse(words):
            return directive
    return None


def without(text: str) -> str:
    """The text as its author meant it: well-formed directives taken out."""
    if "[[sim:" not in text:
        return text
    kept = _DIRECTIVE.sub(lambda match: "" if parse(match[1]) else match[0], text)
    return kept.strip()


def parse(words: str) -> Directive | None:
    """Read a directive's words; None when any of them is not understood."""
    script_id: str | None = None
    tool: str | None = None
    changes: dict[str, object] = {}
    for place, word in enumerate(words.split()):
        key, equals, value = word.partition("=")
        if not equals:
            if place or not _NAME.fullmatch(word):
                return None
            script_id = word
        elif key == "tool":
            tool = value
        elif (change := _change(key, value)) is not None:
            changes.update(change)
        else:
            return None
    return _checked(Directive(script_id=script_id, changes=changes, tool=tool))


def _change(key: str, value: str) -> dict[str, object] | None:
    if key == "as":
        return {"acts_as": value}
    if key in _FLAGS:
        return {_FLAGS[key]: value in {"1", "true", "yes"}}
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        return None
    if key == "tokens":
        return {"tokens": int(value), "text": None}
    if key == "think":
        return {"thinking": tokens.filler(min(int(value), 200_000))}
    return {_FIELDS[key]: int(value)} if key in _FIELDS else None


def _checked(directive: Directive) -> Directive | None:
    if not (directive.script_id or directive.changes or directive.tool):
        return None
    try:
        merged(QUIET, directive.changes)
    except ValueError:  # msgspec.ValidationError: a value outside its bounds
        return None
    return directive
