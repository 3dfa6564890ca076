"""What the children say: to the terminal as ``name | line``, and to rotating files."""

import contextlib
import json
import logging.handlers
import queue
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TextIO

from ideplatform.embedded import private_files

KEPT_LINES = 50  # printed when a child is given up
FILE_BYTES = 10 * 1024 * 1024
FILES = 5
CONSOLE_BACKLOG = 10_000  # lines; a stopped terminal costs lines there, never in the files
LONGEST_LINE = 64 * 1024  # bytes; a longer one is cut in pieces


class Console:
    """Writes lines to a terminal from a thread of its own.

    A terminal may block (Ctrl-S, a pager) or vanish (``up | head``). Neither may hold up
    the supervisor, so that lines beyond the backlog are dropped and counted.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: TextIO | None = stream or sys.stdout
        self._lines: queue.Queue[str | None] = queue.Queue(CONSOLE_BACKLOG)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="console", daemon=True)
        self._thread.start()

    def offer(self, line: str) -> None:
        """Print ``line`` unless the terminal is too far behind."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Print what waits, for a second at most."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(timeout=1)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            missed, self._dropped = self._dropped, 0
            text = f"up | {missed} lines were not shown\n" if missed else ""
            if self._stream is None:
                continue
            try:
                self._stream.write(f"{text}{line}\n")
                self._stream.flush()
            except (OSError, ValueError):  # the terminal is gone; the files go on
                self._stream = None


class Output:
    """Terminal and log files of one supervisor."""

    def __init__(self, directory: Path, console: Console, *, as_json: bool = False) -> None:
        self.directory = private_files.make_private_dir(directory)
        self._console = console
        self._as_json = as_json
        self._width = 0

    def say(self, text: str) -> None:
        """A line of the supervisor itself, for the person at the terminal."""
        self._console.offer(self.render("up", text) if self._as_json else text)

    def stream(self, name: str) -> "ChildOutput":
        """Where the lines of the child ``name`` go."""
        self._width = max(self._width, len(name))
        return ChildOutput(name, self.directory / f"{name}.log", self)

    def show(self, name: str, line: str) -> None:
        self._console.offer(self.render(name, line))

    def render(self, name: str, line: str) -> str:
        """``name | line``, or one JSON object that names the process."""
        if not self._as_json:
            return f"{name:<{self._width}} | {line}"
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            fields = {"event": line}
        return json.dumps({"process": name, **fields}, ensure_ascii=False)


class ChildOutput:
    """The lines of one child, over all its restarts."""

    def __init__(self, name: str, path: Path, output: Output) -> None:
        self._name = name
        self._output = output
        self._last: deque[str] = deque(maxlen=KEPT_LINES)
        self._file = logging.handlers.RotatingFileHandler(
            path,
            maxBytes=FILE_BYTES,
            backupCount=FILES - 1,
            encoding="utf-8",
            delay=True,
        )

    @property
    def last_lines(self) -> list[str]:
        return list(self._last)

    def write(self, raw: bytes) -> None:
        """Take one line, without its end."""
        line = raw.decode("utf-8", errors="replace").rstrip("\r")
        self._last.append(line)
        record = logging.LogRecord(self._name, logging.INFO, "", 0, line, None, None)
        self._file.handle(record)
        self._output.show(self._name, line)

    def close(self) -> None:
        self._file.close()


class Lines:
    """Cuts a stream of bytes into lines of bounded length."""

    def __init__(self, output: ChildOutput) -> None:
        self._output = output
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._output.write(line)
        while len(self._rest) > LONGEST_LINE:
            self._output.write(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def end(self) -> None:
        if self._rest:
            self._output.write(self._rest)
            self._rest = b""
