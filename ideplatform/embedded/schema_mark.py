"""``DATA_DIR/schema``: which migrations the database had after the last start.

While they are the ones of this code, web may start beside ``migrate`` instead of after it:
that halves a later start. The mark decides nothing else; ``migrate`` always runs, and
``/ready`` asks the database itself.
"""

import hashlib
from pathlib import Path

from ideplatform.embedded import private_files

FILE_NAME = "schema"


def current(project_root: Path, database: str) -> str:
    """The mark of this code's migrations, those of installed packages by their lock."""
    digest = hashlib.sha256(database.encode())
    files = [*project_root.glob("*/migrations/*.py"), *project_root.glob("*/*/migrations/*.py")]
    for path in [*sorted(files), project_root / "uv.lock"]:
        digest.update(path.relative_to(project_root).as_posix().encode())
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def is_known(data_dir: Path, mark: str) -> bool:
    """Whether the last start on this directory ended with these migrations applied."""
    path = data_dir / FILE_NAME
    return path.exists() and path.read_text(encoding="ascii").strip() == mark


def remember(data_dir: Path, mark: str) -> None:
    private_files.write(data_dir / FILE_NAME, mark + "\n")
