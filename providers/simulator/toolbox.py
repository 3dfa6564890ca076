"""Finding the reading and the writing tool among a client's tools, whatever it calls them.

Names and arguments of the clients we serve: our own agents (read_file, write_file), Claude Code
(Read, Write, Edit), opencode (read, write, edit; filePath), Cline and Continue (read_file,
write_to_file, create_new_file), qwen-code and Gemini CLI (absolute_path), Codex (shell).
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from . import schemas
from .conversation import Tool, ToolUse
from .edits import Change
from .script import ToolCall

_READERS = ("read_file", "read", "view", "view_file", "open_file", "get_file", "read_files")
_WRITERS = ("write_file", "write", "write_to_file", "create_file", "create_new_file", "save_file")
_EDITORS = ("edit_file", "edit", "replace", "replace_in_file", "str_replace")
_SHELLS = ("shell", "exec_command", "shell_command", "local_shell", "bash", "run_shell_command",
           "execute_command", "run_command", "run_terminal_command")  # fmt: skip
_PATHS = ("path", "file_path", "filePath", "filepath", "absolute_path", "filename", "file",
          "target_file", "uri", "name")  # fmt: skip
_CONTENTS = ("content", "contents", "text", "file_text", "new_content", "new_text", "code", "data")
_OLD = ("old_string", "oldString", "old_str", "old_text", "search")
_NEW = ("new_string", "newString", "new_str", "new_text", "replace")
_COMMANDS = ("command", "cmd", "script")
_VERSIONS = ("expected_version", "base_version", "version", "if_version", "if_match", "etag", "sha")
_NUMBERED = re.compile(r"^\s*\d+(?:\t|→|: |\| ?)")
_WRAPPED = re.compile(r"<(content|file)>\n?(.*?)\n?</\1>", re.DOTALL)
_FAILURE = re.compile(
    r"^\W{0,3}(error|failed|cannot|file not found|no such file|enoent)\b|^cat: .*no such file",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools that matter; each may be missing."""

    reader: Tool | None
    writer: Tool | None
    editor: Tool | None
    shell: Tool | None

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
            return _filled(self.reader, {_PATHS: path}, read=None)
        return _shell_call(self._only_shell(), f"cat -- {shlex.quote(path)}")

    def writing(self, path: str, change: Change, *, read: str | None) -> ToolCall:
        """Write the whole text; or edit in place where that is all the client offers."""
        if self.writer:
            return _filled(self.writer, {_PATHS: path, _CONTENTS: change.after}, read=read)
        if self.editor and self.reader:
            old, new = change.as_replacement()
            return _filled(self.editor, {_PATHS: path, _OLD: old, _NEW: new}, read=read)
        body = change.after if change.after.endswith("\n") else change.after + "\n"
        return _shell_call(
            self._only_shell(), f"cat > {shlex.quote(path)} <<'SIM_EOF'\n{body}SIM_EOF"
        )

    def _only_shell(self) -> Tool:
        """What is left when there is no file tool; ``can_read``/``can_edit`` are asked first."""
        if self.shell is None:
            raise LookupError("no tool reads or writes files")
        return self.shell


def of(tools: Sequence[Tool]) -> Toolbox:
    return Toolbox(
        reader=_first(tools, _READERS),
        writer=_first(tools, _WRITERS),
        editor=_first(tools, _EDITORS),
        shell=_first(tools, _SHELLS),
    )


def file_text(result: str) -> str:
    """The file inside a tool's answer: out of JSON, tags and line numbers."""
    parsed = _object(result)
    for key in ("content", "contents", "text", "output", "result"):
        if isinstance(value := parsed.get(key), str):
            return file_text(value) if value != result else value
    if wrapped := _WRAPPED.search(result):
        return file_text(wrapped[2])
    lines = result.splitlines(keepends=True)
    if lines and all(_NUMBERED.match(line) for line in lines if line.strip()):
        return "".join(_NUMBERED.sub("", line) for line in lines)
    return result


def reports_failure(result: str) -> bool:
    """Whether a tool's answer says in words or in JSON that it failed."""
    parsed = _object(result)
    return bool(parsed.get("error")) or bool(_FAILURE.search(result))


def _first(tools: Sequence[Tool], names: tuple[str, ...]) -> Tool | None:
    """The tool of the earliest name; servers prefix theirs (``mcp__files__read_file``)."""
    for name in names:
        for tool in tools:
            plain = re.split(r"__|\.|/", tool.name)[-1].lower()
            if plain == name:
                return tool
    return None


def _filled(tool: Tool, values: Mapping[tuple[str, ...], str], *, read: str | None) -> ToolCall:
    """A call with each value under the tool's own name for it, and all it requires besides."""
    properties = schemas.mapping(tool.schema.get("properties"))
    arguments: dict[str, object] = {}
    for names, value in values.items():
        name = next((name for name in names if name in properties), names[0])
        arguments[name] = value
    known = _object(read or "")
    for version in _VERSIONS:
        if version in properties and (found := _version(known, version)) is not None:
            arguments[version] = found
    for needed in schemas.sequence(tool.schema.get("required")):
        if isinstance(needed, str) and needed not in arguments:
            part = schemas.mapping(properties.get(needed))
            arguments[needed] = known.get(needed, schemas.instance(part, "simulated edit"))
    return ToolCall(name=tool.name, arguments=arguments)


def _version(known: Mapping[str, object], name: str) -> object:
    return next((known[key] for key in (name, *_VERSIONS) if key in known), None)


def _shell_call(tool: Tool, command: str) -> ToolCall:
    properties = schemas.mapping(tool.schema.get("properties"))
    name = next((name for name in _COMMANDS if name in properties), _COMMANDS[0])
    part = schemas.mapping(properties.get(name))
    is_list = str(part.get("type", "string")).lower() == "array"
    value: object = ["bash", "-lc", command] if is_list else command
    arguments: dict[str, object] = {name: value}
    for required in schemas.sequence(tool.schema.get("required")):
        if isinstance(required, str) and required not in arguments:
            words = "read or write a file"
            arguments[required] = schemas.instance(schemas.mapping(properties.get(required)), words)
    return ToolCall(name=tool.name, arguments=arguments)


def _shell_words(use: ToolUse) -> str:
    return " ".join(str(value) for value in use.arguments.values())


def _object(text: str) -> Mapping[str, object]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value: object = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
