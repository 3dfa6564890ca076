"""Finding the reading and the writing tool among a client's tools, whatever it calls them.

Known names come first: our own agents (read_file, write_file), Claude Code and Continue (Read,
Write, Edit), opencode and pi (read, write, edit), Cline (read_files, editor, run_commands),
qwen-code and Gemini CLI (read_file, write_file), Codex (shell, exec_command). Any other tool is
taken by what its schema asks for: a path and a text writes, a path alone reads. ``forms`` fills
the schema in.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from . import forms, schemas
from .conversation import Tool, ToolUse
from .edits import Change
from .reading import JsonObject
from .script import ToolCall

_READERS = ("read_file", "read", "view", "view_file", "open_file", "get_file", "read_files")
_WRITERS = ("write_file", "write", "write_to_file", "create_file", "create_new_file", "save_file")
_EDITORS = ("edit_file", "edit", "replace", "replace_in_file", "str_replace", "editor")
_SHELLS = ("shell", "exec_command", "shell_command", "local_shell", "bash", "run_shell_command",
           "execute_command", "run_command", "run_commands", "run_terminal_command")  # fmt: skip
_READING = re.compile(r"read|view|open|get|show|cat", re.IGNORECASE)
_NUMBERED = re.compile(r"^\s*\d+(?:\t|→|: | ?\| ?)")
_WRAPPED = re.compile(r"<(content|file)>\n?(.*?)\n?</\1>", re.DOTALL)
_ENDED = re.compile(r"\n+\((?:End of file|Showing lines)[^\n]*\)\s*\Z")
_PRINTED = re.compile(r"\A(?:[A-Z][\w ]*:? [^\n]*\n)+Output:\n")
_FAILURE = re.compile(
    r"^\W{0,3}(error|failed|cannot|file not found|no such file|enoent)\b|^cat: .*no such file"
    r"|\bexited with code [1-9]|^exit code:? [1-9]",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools that matter; each may be missing. ``directory`` completes relative paths."""

    reader: Tool | None
    writer: Tool | None
    editor: Tool | None
    shell: Tool | None
    directory: str | None = None

    @property
    def can_read(self) -> bool:
        return bool(self.reader or self.shell)

    @property
    def can_edit(self) -> bool:
        return bool(self.writer or self.shell or (self.editor and self.reader))

    def is_write(self, use: ToolUse) -> bool:
        if self.shell and use.name == self.shell.name:
            return "<<" in _shell_words(use)
        return any(tool and tool.name == use.name for tool in (self.writer, self.editor))

    def reading(self, path: str) -> ToolCall:
        if self.reader:
            return forms.call(self.reader, {forms.PATHS: self._place(self.reader, path)})
        return forms.shell_call(self._only_shell(), f"cat -- {shlex.quote(path)}")

    def writing(self, path: str, change: Change, *, read: str | None) -> ToolCall:
        """Write the whole text; or edit in place where that is all the client offers."""
        known = parsed(read or "")
        if self.writer:
            whole = {forms.PATHS: self._place(self.writer, path), forms.CONTENTS: change.after}
            return forms.call(self.writer, whole, known=known)
        if self.editor and self.reader:
            at = {forms.PATHS: self._place(self.editor, path)}
            if read is None and forms.creates(self.editor):
                return forms.call(self.editor, {**at, forms.NEW: change.after})
            old, new = change.as_replacement()
            return forms.call(self.editor, {**at, forms.OLD: old, forms.NEW: new}, known=known)
        body = change.after if change.after.endswith("\n") else change.after + "\n"
        return forms.shell_call(
            self._only_shell(), f"cat > {shlex.quote(path)} <<'SIM_EOF'\n{body}SIM_EOF"
        )

    def _place(self, tool: Tool, path: str) -> str:
        """The path as the tool wants it."""
        if self.directory is None or path.startswith("/") or not forms.wants_absolute(tool):
            return path
        return f"{self.directory.rstrip('/')}/{path.removeprefix('./')}"

    def _only_shell(self) -> Tool:
        """What is left when there is no file tool; ``can_read``/``can_edit`` are asked first."""
        if self.shell is None:
            raise LookupError("no tool reads or writes files")
        return self.shell


def of(tools: Sequence[Tool], *, directory: str | None = None) -> Toolbox:
    reader = _named(tools, _READERS) or _asking_for(tools, forms.reads, _READING)
    return Toolbox(
        reader=reader,
        writer=_named(tools, _WRITERS) or _asking_for(tools, forms.writes, None),
        editor=_named(tools, _EDITORS),
        shell=_named(tools, _SHELLS),
        directory=directory,
    )


def file_text(result: str) -> str:
    """The file inside a tool's answer: out of JSON, tags, a shell's report and line numbers."""
    found = parsed(result)
    for key in ("content", "contents", "text", "output", "result"):
        if isinstance(value := found.get(key), str):
            return file_text(value) if value != result else value
    if wrapped := _WRAPPED.search(result):
        return file_text(_ENDED.sub("\n", wrapped[2]))
    if printed := _PRINTED.match(result):
        return result[printed.end() :]
    lines = result.splitlines(keepends=True)
    if lines and all(_NUMBERED.match(line) for line in lines if line.strip()):
        return "".join(_NUMBERED.sub("", line) for line in lines)
    return result


def reports_failure(result: str) -> bool:
    """Whether a tool's answer says in words or in JSON that it failed."""
    found = parsed(result)
    return bool(found.get("error")) or bool(_FAILURE.search(result.partition("Output:\n")[0]))


def parsed(text: str) -> JsonObject:
    """The JSON object that a text is, or the first of a list of them; else an empty one."""
    if not text.lstrip().startswith(("{", "[")):
        return {}
    try:
        value: object = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return {}
    return schemas.mapping(next(iter(value), None) if isinstance(value, list) else value)


def _named(tools: Sequence[Tool], names: tuple[str, ...]) -> Tool | None:
    """The tool of the earliest name; servers prefix theirs (``mcp__files__read_file``)."""
    for name in names:
        for tool in tools:
            plain = re.split(r"__|\.|/", tool.name)[-1].lower()
            if plain == name:
                return tool
    return None


def _asking_for(
    tools: Sequence[Tool], asks: Callable[[Tool], bool], named: re.Pattern[str] | None
) -> Tool | None:
    """The first tool whose schema asks for the right things, and whose name may be right too."""
    return next(
        (tool for tool in tools if asks(tool) and (named is None or named.search(tool.name))), None
    )


def _shell_words(use: ToolUse) -> str:
    return " ".join(str(value) for value in use.arguments.values())
