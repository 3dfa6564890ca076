"""Files of NAME=value lines that only their owner may read."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def make_private_dir(path: Path) -> Path:
    """Create ``path`` and its parents; the directory itself is 0700."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``, mode 0600, durably and in one step.

    A crash leaves the old file or the new one, never half of a key.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as draft:
            draft.write(text)
            draft.flush()
            os.fsync(draft.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_values(path: Path, values: Mapping[str, str], *, heading: str) -> None:
    """Write ``values`` as NAME=value lines under a comment that says what they are."""
    lines = [f"# {line}" for line in heading.splitlines()]
    lines += [f"{name}={value}" for name, value in values.items()]
    write(path, "\n".join(lines) + "\n")


def read_values(path: Path) -> dict[str, str]:
    """The NAME=value lines of ``path``; empty when there is no such file."""
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
