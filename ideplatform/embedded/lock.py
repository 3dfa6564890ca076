"""One supervisor per data directory."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ideplatform.embedded import private_files
from ideplatform.embedded.errors import AlreadyRunning


class DirectoryLock:
    """``flock`` on ``DATA_DIR/up.lock``; the kernel lets go of it whatever happens to us."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "up.lock"
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock, or raise AlreadyRunning naming the holder's pid and URL."""
        private_files.make_private_dir(self._path.parent)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            os.close(self._descriptor)
            raise AlreadyRunning(
                f"already running: pid {holder.get('pid', 'unknown')}, "
                f"{holder.get('url', 'address unknown')} (data directory {self._path.parent}); "
                "stop it, or choose another --data-dir and --port"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def announce(self, url: str) -> None:
        """Say who holds the lock and where it serves."""
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def _holder(self) -> dict[str, object]:
        try:
            found = json.loads(os.pread(self._descriptor, 4096, 0))
        except ValueError:  # taken a moment ago, nothing announced yet
            return {}
        return found if isinstance(found, dict) else {}
