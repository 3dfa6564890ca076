"""Following a run: PostgreSQL, then the tail, then live; every event once and in order.

A cursor is (fence, seq). Within one owner's fence the next seq is the next event. When the owner
changes, PostgreSQL decides: if the event at the cursor is stored as we saw it, the new owner went
on after it; if another one stands there, what we saw beyond the survivors is taken back.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from uuid import UUID

from agents import frames
from agents.journal import entries, hub, store
from agents.journal.entries import Entry
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown

WAIT_S = 0.25
PATIENCE_S = 1.5
"""How long a cursor of an unknown owner may be ahead of PostgreSQL before it counts as lost.

A cursor of the present owner only waits: an owner stores what it sent, or loses its fence.
"""

LIMIT_BYTES = 131_072
Item = Entry | frames.Lagging | frames.Rewind


@dataclass(slots=True)
class _Cursor:
    seq: int
    fence: int | None
    ahead_since: float | None = None
    is_confirmed: bool = False

    def move(self, entry: Entry) -> None:
        self.seq, self.fence = entry.seq, entry.fence

    def rewind(self, to_seq: int) -> None:
        self.seq, self.fence, self.ahead_since = to_seq, None, None

    def is_ahead_for(self, seconds: float) -> bool:
        """Whether PostgreSQL has been behind the cursor for longer than that."""
        self.ahead_since = self.ahead_since or time.monotonic()
        return time.monotonic() - self.ahead_since > seconds


async def follow(
    run_id: UUID, *, after: int = 0, fence: int | None = None, limit_bytes: int = LIMIT_BYTES
) -> AsyncGenerator[Item]:
    """The run's events after a cursor until its terminal one.

    A slow reader holds at most `limit_bytes` of live entries, then gets `Lagging` and merged ones.
    `fence` is that of the last event seen; without it, a cursor beyond the journal is rewound.
    Ends without an event when the run does not exist (any more).
    """
    home = hub.here()
    watch = await home.watch(run_id, cursor=after, limit_bytes=limit_bytes)
    follower = _Follower(home, watch, _Cursor(seq=after, fence=fence))
    try:
        async for item in follower.items():
            yield item
    finally:
        home.unwatch(watch)


class _Follower:
    def __init__(self, home: hub.Hub, watch: hub.Watch, cursor: _Cursor) -> None:
        self._home = home
        self._watch = watch
        self._cursor = cursor
        self._is_over = False
        self._must_retry = False

    async def items(self) -> AsyncGenerator[Item]:
        while not self._is_over:
            async for item in self._catch_up():
                yield item
            while not (self._is_over or self._watch.is_behind or self._watch.is_lagging):
                for entry in self._live():
                    yield entry
                if not (self._is_over or self._watch.is_behind):
                    await self._wait()

    async def _wait(self) -> None:
        await self._watch.wait(within_s=WAIT_S if self._must_retry else None)
        self._watch.is_behind |= self._must_retry

    def _live(self) -> Iterable[Entry]:
        """The entries that came, as far as they continue the cursor."""
        for entry in self._watch.take():
            if self._cursor.fence is not None and entry.fence < self._cursor.fence:
                continue
            if entry.fence == self._cursor.fence and entry.seq <= self._cursor.seq:
                continue
            if entry.fence != self._cursor.fence or entry.seq != self._cursor.seq + 1:
                self._watch.is_behind = True
                return
            yield self._passed(entry)

    def _passed(self, entry: Entry) -> Entry:
        self._cursor.move(entry)
        self._watch.cursor, self._watch.fence = entry.seq, entry.fence
        self._is_over = entry.is_terminal
        return entry

    async def _catch_up(self) -> AsyncGenerator[Item]:
        is_lagging, self._watch.is_lagging = self._watch.is_lagging, False
        self._watch.is_behind = self._must_retry = False
        if is_lagging:
            yield frames.Lagging(run_id=self._watch.run_id, after=self._cursor.seq)
        try:
            async for item in self._stored(is_lagging):
                yield item
        except DatabaseDown:
            self._must_retry = True

    async def _stored(self, is_lagging: bool) -> AsyncGenerator[Item]:
        while not self._is_over:
            start = max(self._cursor.seq, 1)
            stretch = await run_db(store.read, self._watch.run_id, start=start)
            if stretch.head is None:
                self._is_over = True
                return
            rewind = await self._judge(stretch)
            if rewind is not None:
                yield rewind
                continue
            found = [entry for entry in stretch.entries if entry.seq > self._cursor.seq]
            for entry in entries.merged(found) if is_lagging else found:
                yield self._passed(entry)
            if len(stretch.entries) < store.CHUNK_ROWS:
                break
        if not self._is_over:
            async for item in self._tail(stretch.head):
                yield item

    async def _judge(self, stretch: store.Stretch) -> frames.Rewind | None:
        """Whether PostgreSQL knows the cursor's event as we do; a rewind when it does not."""
        cursor = self._cursor
        cursor.is_confirmed = cursor.seq == 0
        if cursor.seq == 0:
            return None
        anchor = stretch.entries[0] if stretch.entries else None
        if anchor is None or anchor.seq != cursor.seq:
            return await self._judge_unstored(stretch.head)
        cursor.ahead_since = None
        if cursor.fence not in (None, anchor.fence):
            return await self._rewind_to_survivors()
        cursor.fence = self._watch.fence = anchor.fence
        cursor.is_confirmed = True
        return None

    async def _judge_unstored(self, head: store.Head | None) -> frames.Rewind | None:
        """The cursor's event is not in PostgreSQL: not yet, or never."""
        cursor = self._cursor
        if head is None or head.last_seq >= cursor.seq:
            return None
        if cursor.fence is not None and head.fence > cursor.fence:
            rewind = await self._rewind_to_survivors()
            if rewind is not None:
                return rewind
        elif head.is_over or (cursor.fence is None and cursor.is_ahead_for(PATIENCE_S)):
            return self._rewind(head.last_seq)
        self._must_retry = True
        return None

    async def _rewind_to_survivors(self) -> frames.Rewind | None:
        """To the last event before newer owners wrote; None while they have not written."""
        fence = self._cursor.fence or 0
        survived = await run_db(store.survived, self._watch.run_id, fence=fence)
        return None if survived is None else self._rewind(min(survived, self._cursor.seq))

    def _rewind(self, to_seq: int) -> frames.Rewind:
        self._cursor.rewind(to_seq)
        self._watch.cursor, self._watch.fence = to_seq, None
        return frames.Rewind(run_id=self._watch.run_id, to_seq=to_seq)

    async def _tail(self, head: store.Head | None) -> AsyncGenerator[Entry]:
        if head is None or not (self._cursor.is_confirmed or head.fence == self._cursor.fence):
            return
        for entry in await self._home.read_tail(
            self._watch.run_id, fence=head.fence, after=self._cursor.seq
        ):
            yield self._passed(entry)
            if self._is_over:
                return
