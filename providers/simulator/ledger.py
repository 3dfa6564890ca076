"""What a vendor would have charged: one row per dispatched call, cut streams included.

Rules of charging:

- a refused call (401, 429, 5xx, ...) is charged nothing; its row stays,
- a complete answer is charged in full, also when the client read only a part of a whole answer,
- a stream that was cut, hung, or whose client went away is charged its whole input and the
  output tokens that were put on the wire (pro rata where a script named other figures),
- a lie told to the client (``reported``, ``raw_usage``) never changes the charge.

With a file every row is appended when its call opens and again when it closes, so a kill loses
nothing: a row that never closed is read back as ``lost`` and charged its input.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from .frames import Frame
from .script import Usage

ROWS_MAX = 500_000  # the oldest rows leave the memory first; ``dropped`` counts them
Outcome = Literal["open", "refused", "complete", "cut", "failed", "client_gone", "hung", "lost"]


class Row(Struct, kw_only=True):
    """One dispatched call."""

    seq: int
    at: datetime
    vendor: str
    operation: str
    path: str
    model: str = ""
    service_tier: str = "standard"
    request_id: str | None = None  # the caller's, repeated over its retries
    attempt: str | None = None  # the caller's, if it numbers them
    dispatch: int = 1  # how often this request_id was seen, this call included
    provider_request_id: str = ""
    key_hint: str = ""  # last four characters
    key_id: str = ""
    script: str | None = None
    is_stream: bool = False
    status: int = 0
    outcome: Outcome = "open"
    tokens: Usage = Usage()
    output_sent: int = 0  # output tokens put on the wire, reasoning not included
    reasoning_sent: int = 0
    usage_told: bool = False  # whether the client can know the figures

    @property
    def is_charged(self) -> bool:
        return self.outcome not in ("open", "refused")


class Entry:
    """The open row of a running call; it closes once."""

    def __init__(self, row: Row, ledger: "Ledger") -> None:
        self.row = row
        self._ledger = ledger
        self._full = Usage()
        self._tells_usage = False
        self._output_planned = 0
        self._reasoning_planned = 0

    def dispatched(self, full: Usage, *, tells_usage: bool) -> None:
        """The answer is known: what it costs when it ends well, and whether it says so."""
        self._tells_usage = tells_usage
        self._full = _as_charged(full, self.row.vendor)
        self.row.status = 200
        self.row.tokens = msgspec.structs.replace(self._full, output=0, output_reasoning=0)
        self._ledger.write(self.row)

    def planned(self, frames: list[Frame]) -> None:
        self._reasoning_planned = sum(one.tokens for one in frames if one.is_reasoning)
        self._output_planned = sum(one.tokens for one in frames) - self._reasoning_planned

    def sent(self, frame: Frame) -> None:
        if frame.is_reasoning:
            self.row.reasoning_sent += frame.tokens
        else:
            self.row.output_sent += frame.tokens

    def refused(self, status: int) -> None:
        self._close("refused", status, Usage())

    def complete(self, *, is_delivered: bool = True) -> None:
        self.row.usage_told = is_delivered and self._tells_usage
        self._close("complete", 200, self._full)

    def broken(self, outcome: Outcome) -> None:
        """A stream ended early: its input, and the output sent so far."""
        self._close(outcome, 200, self._partial())

    def _partial(self) -> Usage:
        row = self.row
        if row.vendor == "anthropic":  # thinking is part of its one output figure
            planned = self._output_planned + self._reasoning_planned
            sent = row.output_sent + row.reasoning_sent
            output = _share(self._full.output, sent, planned)
            return msgspec.structs.replace(self._full, output=output)
        return msgspec.structs.replace(
            self._full,
            output=_share(self._full.output, row.output_sent, self._output_planned),
            output_reasoning=_share(
                self._full.output_reasoning, row.reasoning_sent, self._reasoning_planned
            ),
        )

    def _close(self, outcome: Outcome, status: int, tokens: Usage) -> None:
        if self.row.outcome == "open":
            self.row.outcome = outcome
            self.row.status = status
            self.row.tokens = tokens
            self._ledger.write(self.row)


class Ledger:
    """All rows, in memory and, when a path is given, in an append-only file."""

    def __init__(self, path: Path | None = None) -> None:
        self._rows: deque[Row] = deque()
        self._seen: Counter[str] = Counter()
        self._seq = 0
        self.dropped = 0
        self._file: int | None = None
        if path is not None:
            self._restore(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def open(self, row: Row) -> Entry:
        """Number a new call and note it, before anything is answered."""
        self._seq += 1
        row.seq = self._seq
        row.provider_request_id = f"req_sim_{self._seq:012d}"
        if row.request_id:
            self._seen[row.request_id] += 1
            row.dispatch = self._seen[row.request_id]
        self._keep(row)
        self.write(row)
        return Entry(row, self)

    def post(self, row: Row) -> None:
        """Take in a call that was charged elsewhere."""
        self._seq += 1
        row.seq = self._seq
        row.provider_request_id = f"req_sim_{self._seq:012d}"
        self._keep(row)
        self.write(row)

    def rows(
        self, *, after: int = 0, request_id: str | None = None, limit: int = ROWS_MAX
    ) -> Iterator[Row]:
        found = 0
        for row in self._rows:
            if row.seq > after and request_id in (None, row.request_id):
                if found == limit:
                    return
                found += 1
                yield row

    def clear(self) -> None:
        """Forget every row; numbering goes on, the file is emptied."""
        self._rows.clear()
        self._seen.clear()
        self.dropped = 0
        if self._file is not None:
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def write(self, row: Row) -> None:
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(row) + b"\n")

    def _keep(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) > ROWS_MAX:
            oldest = self._rows.popleft()
            self.dropped += 1
            if oldest.request_id and oldest.dispatch >= self._seen[oldest.request_id]:
                del self._seen[oldest.request_id]

    def _restore(self, path: Path) -> None:
        if not path.exists():
            return
        latest: dict[int, Row] = {}
        decoder = msgspec.json.Decoder(Row)
        for line in path.read_bytes().splitlines():
            try:
                row = decoder.decode(line)
            except msgspec.DecodeError:  # the torn last line of a killed process
                continue
            latest[row.seq] = row
        for row in latest.values():
            if row.outcome == "open":
                row.outcome = "lost"
            if row.request_id:
                self._seen[row.request_id] = max(self._seen[row.request_id], row.dispatch)
            self._keep(row)
            self._seq = max(self._seq, row.seq)


def now() -> datetime:
    return datetime.now(UTC)


def _as_charged(usage: Usage, vendor: str) -> Usage:
    """Anthropic bills one output figure; thinking inside it is only informative."""
    if vendor != "anthropic":
        return usage
    return msgspec.structs.replace(usage, output=usage.completion, output_reasoning=0)


def _share(full: int, sent: int, planned: int) -> int:
    return full * sent // planned if planned else full
