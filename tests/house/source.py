"""The repository's own Python files, parsed."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "workspaces", "billing", "providers", "agents")
PACKAGES = ("ideplatform", *APPS)


def files(*packages: str, migrations: bool = False) -> list[Path]:
    """Every Python file of the packages, in order."""
    found = [path for name in packages or PACKAGES for path in (ROOT / name).rglob("*.py")]
    return sorted(path for path in found if migrations or "migrations" not in path.parts)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
