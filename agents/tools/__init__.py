"""The tools that run on the server: what a model may do to the files of its run's workspace."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog

from accounts.types import Actor
from agents.tools import files
from agents.tools.toolkit import MAX_RESULT_BYTES, Access, ServerTool, failed
from agents.types import ToolOutcome
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import PlatformError
from providers.types import Tool, ToolUsePart

__all__ = ["ALL", "MAX_RESULT_BYTES", "NAMES", "Access", "ServerTool", "Workbench", "invoke"]

log = structlog.get_logger(__name__)

_TOOLS: Final[dict[str, ServerTool[Any]]] = {
    tool.name: tool for tool in (files.READ, files.WRITE, files.LIST, files.SEARCH)
}
NAMES: Final = tuple(_TOOLS)
ALL: Final[tuple[Tool, ...]] = tuple(tool.offer() for tool in _TOOLS.values())


@dataclass(slots=True, kw_only=True)
class Workbench:
    """The tools as one run uses them: it remembers which file versions the model has seen."""

    actor: Actor
    workspace_id: UUID
    run_id: UUID
    versions: dict[str, int] = field(default_factory=dict)

    def remember(self, outcome: ToolOutcome) -> None:
        """The model knows this version of a file now."""
        if outcome.version is not None:
            self.versions[outcome.path] = outcome.version


async def invoke(call: ToolUsePart, bench: Workbench, *, key: str) -> tuple[ToolOutcome, int]:
    """Do what the model asked; returns the outcome and how many milliseconds it took.

    `key` is the tool call's own, so that a repeated write is made once. Raises Unavailable when
    a store is away: the call can be repeated.
    """
    started = time.monotonic()
    tool = _TOOLS.get(call.name)
    if tool is None:
        outcome = failed(f"there is no tool {call.name!r}; there are {', '.join(NAMES)}")
    else:
        access = Access(
            actor=bench.actor,
            workspace_id=bench.workspace_id,
            run_id=bench.run_id,
            key=key,
            versions=dict(bench.versions),
        )
        outcome = await _guarded(tool, call.arguments, access)
    bench.remember(outcome)
    return outcome, round((time.monotonic() - started) * 1000)


async def _guarded(tool: ServerTool[Any], arguments: str, access: Access) -> ToolOutcome:
    try:
        return await run_db(tool.run, arguments, access)
    except (PlatformError, asyncio.CancelledError):
        raise
    except Exception:  # a fault of a tool is the model's to know, not the run's end
        log.exception("tool.failed", tool=tool.name, run_id=str(access.run_id))
        return failed("the tool failed on our side")
