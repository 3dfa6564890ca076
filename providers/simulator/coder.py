"""``sim-coder``: a small, honest programmer. It reads the file, edits what it read, writes it back.

The dialogue is a function of the conversation alone:

1. nothing read yet: call the reading tool on the path that the prompt names,
2. read, not written: call the writing (or editing, or shell) tool with the edited text,
3. written: answer with a short summary. A refused write is read and tried once more.

Without tools, or without a path in the prompt, it answers in words.
"""

import re
from dataclasses import dataclass

from . import edits, toolbox
from .conversation import Conversation, ToolOutcome, ToolUse
from .script import Turn
from .toolbox import Toolbox

_WRITES_MAX = 2
_DIRECTORY = re.compile(
    r"(?:directory|cwd|workspace)\W{1,4}(?<=[\s>`\"'])(/[^\s<>\"'`]+)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """One finished tool call of this exchange."""

    use: ToolUse
    outcome: ToolOutcome


def reply(conversation: Conversation) -> Turn:
    """The next turn of the dialogue; thinks aloud when the request wants reasoning."""
    tools = toolbox.of(conversation.tools, directory=_directory(conversation))
    path = edits.path_in(conversation.prompt)
    if path is None:
        return Turn(text="Name the file to change, for example `src/main.py`.")
    if not tools.can_edit:
        return _in_words(conversation, path)
    done = _finished(conversation)
    turn = _step(conversation, tools, path, done)
    return _thoughtful(turn, path, done) if conversation.reasons else turn


def _step(conversation: Conversation, tools: Toolbox, path: str, done: list[_Done]) -> Turn:
    writes = [one for one in done if tools.is_write(one.use)]
    if writes and not _failed(writes[-1].outcome):
        return Turn(text=_summary(conversation, path, tools, done))
    if len(writes) >= _WRITES_MAX:
        return Turn(text=f"I could not write `{path}`: {_first_line(writes[-1].outcome.text)}")
    needs_reading = not done or bool(writes and done[-1] is writes[-1])
    if needs_reading and tools.can_read:
        return Turn(tool_calls=(tools.reading(path),))
    change = edits.change(_read_text(tools, done), path=path, prompt=conversation.prompt)
    return Turn(tool_calls=(tools.writing(path, change, read=_last_read(tools, done)),))


def _finished(conversation: Conversation) -> list[_Done]:
    uses = {use.id: use for message in conversation.exchange for use in message.uses}
    outcomes = [one for message in conversation.exchange for one in message.outcomes]
    return [
        _Done(use=uses[outcome.call_id], outcome=outcome)
        for outcome in outcomes
        if outcome.call_id in uses
    ]


def _last_read(tools: Toolbox, done: list[_Done]) -> str | None:
    """What the last reading tool answered; None when the file does not exist."""
    reads = [one.outcome for one in done if not tools.is_write(one.use)]
    return None if not reads or _failed(reads[-1]) else reads[-1].text


def _read_text(tools: Toolbox, done: list[_Done]) -> str:
    read = _last_read(tools, done)
    return "" if read is None else toolbox.file_text(read)


def _summary(conversation: Conversation, path: str, tools: Toolbox, done: list[_Done]) -> str:
    before = _read_text(tools, done)
    change = edits.change(before, path=path, prompt=conversation.prompt)
    return (
        f"I changed `{path}`: {change.summary}. "
        f"It had {_lines(before)} lines and now has {_lines(change.after)}."
    )


def _in_words(conversation: Conversation, path: str) -> Turn:
    change = edits.change("", path=path, prompt=conversation.prompt)
    listing = f"{path}\n```\n{change.after}```"  # the form that aider takes for a file
    return Turn(text=f"I have no tool to edit `{path}`. I would write:\n\n{listing}")


def _directory(conversation: Conversation) -> str | None:
    """Where the client says that it works: some of its tools take only absolute paths."""
    texts = (message.text for message in conversation.messages if message.role != "assistant")
    return next((found[1] for text in texts if (found := _DIRECTORY.search(text))), None)


def _thoughtful(turn: Turn, path: str, done: list[_Done]) -> Turn:
    step = "decide the next call" if turn.tool_calls else "report"
    words = f"{len(done)} tool calls are done on {path}; now I {step}."
    return Turn(text=turn.text, tool_calls=turn.tool_calls, thinking=words)


def _failed(outcome: ToolOutcome) -> bool:
    return outcome.is_error or toolbox.reports_failure(outcome.text)


def _lines(text: str) -> int:
    return len(text.splitlines())


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]
