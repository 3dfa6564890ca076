"""Searching the files of a workspace; whatever the pattern costs, a child pays it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec

from accounts.types import Actor, Permission
from ideplatform.kit import children
from ideplatform.kit.children import ChildFailed
from ideplatform.kit.errors import InvalidInput, Pointer
from workspaces import selectors, texts
from workspaces.adapters import blobs
from workspaces.children.searching import Answer, Query
from workspaces.models import FileNode, FileVersionRow
from workspaces.services import access

MIB: Final = 1024 * 1024
MAX_MATCHES: Final = 1_000
MAX_PATTERN: Final = 1_000
MAX_FILE_BYTES: Final = 2 * MIB
CPU_S: Final = 2.0
WALL_S: Final = 10.0
_BATCH_BYTES: Final = 16 * MIB
_BATCH_FILES: Final = 500
_TARGET: Final = "workspaces.children.searching:search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One match; line and column count from 1, in code points."""

    file_id: UUID
    path: str
    line: int
    column: int
    length: int
    text: str
    offset: int


@dataclass(slots=True, kw_only=True)
class Found:
    """The matches by path; `is_truncated` when a limit ended the search before the files did."""

    matches: list[Match] = field(default_factory=list)
    files_searched: int = 0
    is_truncated: bool = False


def search(
    *,
    actor: Actor,
    workspace_id: UUID,
    pattern: str,
    is_regex: bool = False,
    is_case_sensitive: bool = False,
    path: str = "",
) -> Found:
    """Find a text, or a regular expression (Python's syntax), line by line under a path.

    Binary files and files over 2 MiB are passed over. Limits: 2 s of CPU, 10 s in all, 256 MB,
    1,000 matches; what was found until then is returned, truncated. Raises NotFound, Forbidden,
    InvalidInput for a bad pattern.
    """
    ref = access.workspace(actor, workspace_id, Permission.FILE_READ)
    if not 0 < len(pattern) <= MAX_PATTERN:
        raise _bad_pattern(f"1 to {MAX_PATTERN} characters")
    files = list(selectors.files(ref, path=path).filter(size__gt=0, size__lte=MAX_FILE_BYTES))
    found = Found()
    budget = _Budget()
    for batch in _batches(files):
        if budget.is_spent() or len(found.matches) >= MAX_MATCHES:
            found.is_truncated = True
            break
        nodes, contents = _loaded(batch)
        query = Query(
            pattern=pattern,
            is_regex=is_regex,
            is_case_sensitive=is_case_sensitive,
            most=MAX_MATCHES - len(found.matches),
            contents=contents,
        )
        answer = _ask(query, budget)
        if answer is None:
            found.is_truncated = True
            break
        _take(found, nodes, answer)
    return found


class _Budget:
    """Two seconds of CPU over all children of a search, and a deadline for everything."""

    def __init__(self) -> None:
        self.cpu_s = CPU_S
        self._deadline = time.monotonic() + WALL_S

    @property
    def wall_s(self) -> float:
        return self._deadline - time.monotonic()

    def is_spent(self) -> bool:
        return self.cpu_s <= 0 or self.wall_s <= 0


def _ask(query: Query, budget: _Budget) -> Answer | None:
    """The child's answer; None when it met a limit."""
    try:
        output = children.run(
            _TARGET,
            msgspec.msgpack.encode(query),
            cpu_s=math.ceil(budget.cpu_s),
            wall_s=max(0.1, budget.wall_s),
        )
    except ChildFailed:
        return None
    answer = msgspec.msgpack.decode(output, type=Answer)
    if answer.fault_at is not None:
        raise _bad_pattern(f"not a regular expression, at character {answer.fault_at + 1}")
    budget.cpu_s -= answer.cpu_s
    return answer


def _batches(files: list[FileNode]) -> Iterator[list[FileNode]]:
    batch: list[FileNode] = []
    size = 0
    for node in files:
        if batch and (size + node.size > _BATCH_BYTES or len(batch) == _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(node)
        size += node.size
    if batch:
        yield batch


def _loaded(batch: list[FileNode]) -> tuple[list[FileNode], list[bytes]]:
    """The text files of a batch with their current contents."""
    rows = FileVersionRow.objects.filter(
        file__in=batch, version__in={node.version for node in batch}
    ).values_list("file_id", "version", "blob_id")
    of_version = {(file_id, version): blob_id for file_id, version, blob_id in rows}
    wanted = {
        node.pk: of_version[node.pk, node.version]
        for node in batch
        if (node.pk, node.version) in of_version
    }
    contents = blobs.contents(list(set(wanted.values())))
    nodes = [
        node
        for node in batch
        if node.pk in wanted and not texts.is_binary(contents[wanted[node.pk]])
    ]
    return nodes, [contents[wanted[node.pk]] for node in nodes]


def _take(found: Found, nodes: list[FileNode], answer: Answer) -> None:
    found.files_searched += len(nodes)
    found.is_truncated = answer.is_truncated
    found.matches.extend(
        Match(
            file_id=nodes[match.file].pk,
            path=nodes[match.file].path,
            line=match.line,
            column=match.column,
            length=match.length,
            text=match.text,
            offset=match.offset,
        )
        for match in answer.found
    )


def _bad_pattern(detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer="/q", detail=detail)])
