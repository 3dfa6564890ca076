"""Reading, listing, searching and writing files as the person of the run."""

from __future__ import annotations

from typing import Final

import msgspec

from accounts.types import Permission
from agents.tools.toolkit import MAX_RESULT_BYTES, Access, ServerTool, failed
from agents.types import ToolOutcome
from ideplatform.kit.errors import Conflict
from workspaces import selectors
from workspaces.services import access as workspace_access
from workspaces.services import files, search
from workspaces.types import NEW_FILE, NodeKind, Origin

MAX_WRITE_CHARS: Final = 1_048_576
MAX_DEPTH: Final = 10
MAX_MATCHES: Final = 200


class ReadFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    first_line: int | None = None
    lines: int | None = None


class WriteFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    content: str


class ListFiles(msgspec.Struct, frozen=True, kw_only=True):
    path: str = ""
    depth: int = 3


class Search(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    path: str = ""
    is_regex: bool = False


def _read(arguments: ReadFile, access: Access) -> ToolOutcome:
    found = files.read_text(
        actor=access.actor, workspace_id=access.workspace_id, path=arguments.path
    )
    if arguments.first_line is None and arguments.lines is None:
        if len(found.text.encode("utf-8", "replace")) > MAX_RESULT_BYTES:
            return ToolOutcome(text=found.text)
        return ToolOutcome(text=found.text, path=found.version.path, version=found.version.version)
    begin = max((arguments.first_line or 1) - 1, 0)
    count = max(arguments.lines or 200, 1)
    return ToolOutcome(text="".join(found.text.splitlines(keepends=True)[begin : begin + count]))


def _write(arguments: WriteFile, access: Access) -> ToolOutcome:
    if len(arguments.content) > MAX_WRITE_CHARS:
        return failed(f"a file may have at most {MAX_WRITE_CHARS} characters here")
    base = access.versions.get(arguments.path, NEW_FILE)
    try:
        made = files.write_text(
            actor=access.actor,
            workspace_id=access.workspace_id,
            path=arguments.path,
            text=arguments.content,
            base_version=base,
            origin=Origin.AGENT,
            run_id=access.run_id,
            idempotency_key=access.key,
        )
    except Conflict as clash:
        if base == NEW_FILE and clash.code == "stale_version":
            return failed("the file exists; read it in full before you write it")
        if clash.code == "stale_version":
            return failed("the file changed after you read it; read it again before you write it")
        raise
    size = len(arguments.content.splitlines())
    return ToolOutcome(
        text=f"Wrote {made.path}, version {made.version}, {size} lines.",
        path=made.path,
        version=made.version,
    )


def _list(arguments: ListFiles, access: Access) -> ToolOutcome:
    ref = workspace_access.workspace(access.actor, access.workspace_id, Permission.FILE_READ)
    depth = min(max(arguments.depth, 1), MAX_DEPTH)
    page = selectors.tree(ref, path=arguments.path.strip("/."), depth=depth)
    lines = [
        node.path + "/" if node.kind == NodeKind.DIRECTORY else f"{node.path} ({node.size} bytes)"
        for node in page.items
    ]
    if page.next_cursor:
        lines.append("[there is more: list a directory of these]")
    return ToolOutcome(text="\n".join(lines) or "The directory is empty.")


def _search(arguments: Search, access: Access) -> ToolOutcome:
    found = search.search(
        actor=access.actor,
        workspace_id=access.workspace_id,
        pattern=arguments.text,
        is_regex=arguments.is_regex,
        path=arguments.path,
    )
    lines = [f"{match.path}:{match.line}: {match.text}" for match in found.matches[:MAX_MATCHES]]
    if found.is_truncated or len(found.matches) > MAX_MATCHES:
        lines.append("[there are more matches: narrow the search]")
    return ToolOutcome(text="\n".join(lines) or "No match.")


READ: Final = ServerTool(
    name="read_file",
    description=(
        "Read a text file of the workspace. Without first_line and lines you get all of it; "
        "large files are cut at 64 KiB and must be read by lines."
    ),
    arguments=ReadFile,
    work=_read,
)
WRITE: Final = ServerTool(
    name="write_file",
    description=(
        "Write a text file: the content replaces the file, or creates it with its directories. "
        "An existing file must have been read in full before."
    ),
    arguments=WriteFile,
    work=_write,
)
LIST: Final = ServerTool(
    name="list",
    description="List files and directories under a path, some levels deep.",
    arguments=ListFiles,
    work=_list,
)
SEARCH: Final = ServerTool(
    name="search",
    description="Find a text or a regular expression in the files under a path.",
    arguments=Search,
    work=_search,
)
