"""Filling in a tool's schema: each value under the tool's own name for it, however deep it lies.

A value whose name is not among the properties goes into the list of objects that has it: Cline
reads ``{"files": [{"path": ...}]}``, pi edits ``{"path": ..., "edits": [{"oldText": ...}]}``.
"""

from collections.abc import Mapping

from . import schemas
from .conversation import Tool
from .reading import JsonObject
from .script import ToolCall

Names = tuple[str, ...]
Values = Mapping[Names, str]

PATHS: Names = ("path", "file_path", "filePath", "filepath", "absolute_path", "filename", "file",
         "target_file", "uri", "paths", "name")  # fmt: skip
CONTENTS: Names = (
    "content",
    "contents",
    "text",
    "file_text",
    "new_content",
    "new_text",
    "code",
    "data",
)
OLD: Names = ("old_string", "oldString", "old_str", "old_text", "oldText", "search")
NEW: Names = ("new_string", "newString", "new_str", "new_text", "newText", "replace")
_COMMANDS = ("command", "cmd", "script", "commands")
_VERSIONS = ("expected_version", "base_version", "version", "if_version", "if_match", "etag", "sha")
_AMBIGUOUS = {"uri", "name", "data", "code", "text"}


def call(tool: Tool, values: Values, *, known: JsonObject | None = None) -> ToolCall:
    """A call with these values and all that the tool requires besides.

    ``known`` is what an earlier answer said: versions and other members travel on by their names.
    """
    properties = _properties(tool.schema)
    arguments = _filled(tool.schema, values)
    for version in _VERSIONS:
        if version in properties and (found := _version(known or {}, version)) is not None:
            arguments[version] = found
    return ToolCall(name=tool.name, arguments=_completed(tool, arguments, "simulated edit", known))


def shell_call(tool: Tool, command: str) -> ToolCall:
    """A call of a shell: a line, the words of one, or a list of lines."""
    properties = _properties(tool.schema)
    name = next((name for name in _COMMANDS if name in properties), _COMMANDS[0])
    value: object = command
    if _kind(properties.get(name)) == "array":
        value = [command] if name.endswith("s") else ["bash", "-lc", command]
    return ToolCall(
        name=tool.name, arguments=_completed(tool, {name: value}, "read or write a file", None)
    )


def creates(editor: Tool) -> bool:
    """Whether an editing tool makes a new file when it is given no old text."""
    required = schemas.sequence(editor.schema.get("required"))
    old, new = (_first(names, _properties(editor.schema)) for names in (OLD, NEW))
    return bool(old and new) and old not in required and new in required


def reads(tool: Tool) -> bool:
    """Whether a path is all that a tool asks for."""
    required = schemas.sequence(tool.schema.get("required"))
    return len(required) == 1 and required[0] in PATHS and required[0] not in _AMBIGUOUS


def writes(tool: Tool) -> bool:
    """Whether a tool asks for a path and a text, and takes no old text."""
    required = set(schemas.sequence(tool.schema.get("required"))) - _AMBIGUOUS
    return (
        bool(required.intersection(PATHS))
        and bool(required.intersection(CONTENTS))
        and not _first(OLD, _properties(tool.schema))
    )


def wants_absolute(tool: Tool) -> bool:
    """Whether a tool says that its path must be absolute."""
    properties = _properties(tool.schema)
    for part in (properties, *(_items(each) for each in properties.values())):
        if name := _first(PATHS, part):
            about = str(schemas.mapping(part[name]).get("description")).lower()
            is_demanded = "absolute" in about and "relative or absolute" not in about
            return name.startswith("absolute") or is_demanded
    return False


def _filled(schema: JsonObject, values: Values) -> dict[str, object]:
    properties = _properties(schema)
    arguments: dict[str, object] = {}
    missing: dict[Names, str] = {}
    for names, value in values.items():
        if name := _first(names, properties):
            arguments[name] = [value] if _kind(properties[name]) == "array" else value
        else:
            missing[names] = value
    lists = [
        name for name, part in properties.items() if any(_first(n, _items(part)) for n in missing)
    ]
    if lists:
        items = schemas.mapping(schemas.mapping(properties[lists[0]]).get("items"))
        return {**arguments, lists[0]: [_filled(items, missing)]}
    return {**arguments, **{names[0]: value for names, value in missing.items()}}


def _completed(
    tool: Tool, arguments: dict[str, object], words: str, known: JsonObject | None
) -> dict[str, object]:
    properties = _properties(tool.schema)
    for needed in schemas.sequence(tool.schema.get("required")):
        if isinstance(needed, str) and needed not in arguments:
            part = schemas.mapping(properties.get(needed))
            arguments[needed] = (known or {}).get(needed, schemas.instance(part, words))
    return arguments


def _properties(schema: JsonObject) -> JsonObject:
    return schemas.mapping(schema.get("properties"))


def _items(part: object) -> JsonObject:
    """The properties of the objects in a list."""
    return _properties(schemas.mapping(schemas.mapping(part).get("items")))


def _first(names: Names, properties: JsonObject) -> str | None:
    return next((name for name in names if name in properties), None)


def _kind(part: object) -> str:
    return str(schemas.mapping(part).get("type", "string")).lower()


def _version(known: JsonObject, name: str) -> object:
    return next((known[key] for key in (name, *_VERSIONS) if key in known), None)
