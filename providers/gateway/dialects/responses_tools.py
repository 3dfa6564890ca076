"""Tools of the `responses` dialect: functions, custom tools, namespaces, and the vendor's own.

Other vendors know plain functions. A function of a namespace (Codex groups its MCP servers so) is
offered to them as `namespace__name`; a custom tool, which takes a text, as a function with the one
argument `input`. `Names` remembers what the client calls them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from providers.gateway.dialects import fields
from providers.gateway.dialects.contract import ToolName
from providers.types import Raw, Tool

Choice = Literal["auto", "required", "none"]
MAX_NAME: Final = 64  # the vendors' longest function name
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]+")
_NOTHING: Final = Raw(b'{"type":"object","properties":{}}')
_TEXT: Final = Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},'
    b'"required":["input"],"additionalProperties":false}'
)


class _Function(msgspec.Struct):
    name: str = ""
    description: str | None = None
    parameters: Raw = fields.NULL
    strict: bool | None = None


class _Tool(_Function):
    type: str | None = None
    tools: list[Raw] | None = None
    format: Raw = fields.NULL
    function: _Function | None = None


class _Format(msgspec.Struct):
    syntax: str = ""
    definition: str = ""


class _Kind(msgspec.Struct):
    type: str | None = None


class Names:
    """The names of a request's tools, as the call has them and as the client has them."""

    def __init__(self) -> None:
        self.by_flat: dict[str, ToolName] = {}
        self._flat: dict[tuple[str, str], str] = {}
        self._taken: set[str] = set()

    def reserve(self, name: str) -> None:
        """A plain function's name, which no other tool gets."""
        self._taken.add(name)

    def add(self, tool: ToolName) -> str:
        """The name for other vendors, of no other tool."""
        if not tool.namespace:
            flat = tool.name
        else:
            flat = joined(tool.namespace, tool.name)
            if flat in self._taken and (tool.namespace, tool.name) not in self._flat:
                flat = _hashed(flat, tool)
        self._taken.add(flat)
        self._flat[tool.namespace, tool.name] = flat
        self.by_flat[flat] = tool
        return flat

    def flat(self, namespace: str, name: str) -> str:
        """The name of a call in the history, whose tool may no longer be offered."""
        known = self._flat.get((namespace, name))
        return known or (joined(namespace, name) if namespace else name)


def joined(namespace: str, name: str) -> str:
    """`namespace__name`; where vendors would not accept that, one with a hash."""
    whole = f"{namespace}__{name}"
    fit = _UNFIT.sub("_", whole)
    if fit == whole and len(fit) <= MAX_NAME:
        return fit
    return _hashed(fit, ToolName(name=name, namespace=namespace))


def _hashed(name: str, tool: ToolName) -> str:
    digest = hashlib.sha256(f"{tool.namespace}\0{tool.name}".encode()).hexdigest()[:8]
    return f"{name[: MAX_NAME - 9]}_{digest}"


@dataclass(slots=True)
class Offered:
    """What a request offers its model."""

    tools: tuple[Tool, ...]
    server_tools: tuple[Raw, ...]
    names: Names


def read(raws: Sequence[tuple[str, Raw]]) -> Offered:
    """Tools with their places in the request.

    Raises InvalidInput for functions that are none; what is unknown is the vendor's own.
    """
    names, server_tools = Names(), list[Raw]()
    found: list[tuple[str, _Tool, str]] = []
    for at, raw in raws:
        found += _of(at, raw, server_tools)
    for at, tool, namespace in found:
        if not tool.name:
            raise fields.fault(f"{at}/name", "a tool needs a name")
        if not namespace:
            names.reserve(tool.name)
    tools = dict[str, Tool]()
    for _, tool, namespace in found:
        offered = _offered(tool, namespace, names)
        tools[offered.name] = offered
    return Offered(tuple(tools.values()), tuple(server_tools), names)


def _of(at: str, raw: Raw, server_tools: list[Raw]) -> Iterator[tuple[str, _Tool, str]]:
    kind = fields.decoded(raw, _Kind, at=at).type
    if kind not in ("function", "custom", "namespace"):
        server_tools.append(raw)
        return
    tool = fields.decoded(raw, _Tool, at=at)
    if kind != "namespace":
        yield at, _flattened(tool), ""
        return
    for place, inner in enumerate(tool.tools or ()):
        where = f"{at}/tools/{place}"
        if fields.decoded(inner, _Kind, at=where).type in ("function", "custom"):
            yield where, fields.decoded(inner, _Tool, at=where), tool.name
        else:
            server_tools.append(inner)


def _flattened(tool: _Tool) -> _Tool:
    """Chat's nested form is taken too."""
    inner = tool.function
    if inner is None or tool.name:
        return tool
    return _Tool(
        type=tool.type,
        name=inner.name,
        description=inner.description,
        parameters=inner.parameters,
        strict=inner.strict,
    )


def _offered(tool: _Tool, namespace: str, names: Names) -> Tool:
    is_custom = tool.type == "custom"
    name = tool.name
    if namespace or is_custom:
        name = names.add(ToolName(name=name, namespace=namespace, is_custom=is_custom))
    if is_custom:
        return Tool(name=name, description=_described(tool), parameters=_TEXT)
    return Tool(
        name=name,
        description=tool.description or "",
        parameters=_NOTHING if fields.is_null(tool.parameters) else tool.parameters,
        strict=tool.strict,
    )


def _described(tool: _Tool) -> str:
    """A custom tool's grammar is said in words: only OpenAI can hold a model to it."""
    text = tool.description or ""
    try:
        grammar = msgspec.json.decode(tool.format, type=_Format | None) or _Format()
    except fields.FAULTS:
        grammar = _Format()
    if not grammar.definition:
        return text
    return f"{text}\n\n`input` must follow this grammar ({grammar.syntax}):\n{grammar.definition}"
