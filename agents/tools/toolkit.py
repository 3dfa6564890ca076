"""What every tool is made of: a schema from its arguments' type, and bounded results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec

from accounts.types import Actor
from agents.types import ToolOutcome
from ideplatform.kit.errors import DatabaseDown, PlatformError
from providers.types import Tool

A = TypeVar("A", bound=msgspec.Struct)
MAX_RESULT_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """For whom and where a tool works. `key` is the tool call's own: a repeated write with the
    same key is looked up, not made again. `versions` are the files that the run has read in full.
    """

    actor: Actor
    workspace_id: UUID
    run_id: UUID
    key: str
    versions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTool(Generic[A]):
    """A tool: its name, what the model is told, its arguments, and the sync work."""

    name: str
    description: str
    arguments: type[A]
    work: Callable[[A, Access], ToolOutcome]

    def offer(self) -> Tool:
        """The tool as a model sees it."""
        schema = msgspec.json.schema(self.arguments)
        definition = dict(schema["$defs"][self.arguments.__name__])
        definition.pop("title", None)
        definition.pop("description", None)
        return Tool(
            name=self.name,
            description=self.description,
            parameters=msgspec.Raw(msgspec.json.encode(definition)),
        )

    def run(self, arguments: str, access: Access) -> ToolOutcome:
        """Decode what the model wrote and work; a refusal is an outcome that says why."""
        try:
            decoded = msgspec.json.decode(arguments or "{}", type=self.arguments)
        except (msgspec.DecodeError, UnicodeEncodeError):
            wanted = ", ".join(self.arguments.__struct_fields__)
            return failed(f"The arguments are not a JSON object with: {wanted}.")
        try:
            return fitted(self.work(decoded, access))
        except DatabaseDown:
            raise
        except PlatformError as refusal:
            return failed(refusal_text(refusal))


def failed(text: str) -> ToolOutcome:
    """An outcome that tells the model what went wrong."""
    return ToolOutcome(text=f"Error: {text}", is_error=True)


def refusal_text(error: PlatformError) -> str:
    """A refusal in words, with the place of each fault."""
    faults = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in error.errors)
    return f"{error.detail} ({faults})" if faults else error.detail


def fitted(outcome: ToolOutcome) -> ToolOutcome:
    """The outcome with at most 64 KiB of text; what was cut is no longer read in full."""
    raw = outcome.text.encode("utf-8", "replace")
    if len(raw) <= MAX_RESULT_BYTES:
        return outcome
    note = f"\n[cut: the first {MAX_RESULT_BYTES} of {len(raw)} bytes]"
    kept = raw[:MAX_RESULT_BYTES].decode("utf-8", "ignore")
    return ToolOutcome(text=kept + note, is_error=outcome.is_error)
