"""The journal's listening side: one hub per event loop, for all runs that its sockets follow.

The hub tells the runs' owners that it listens, and receives their entries on one channel. That is
a bell with content: whatever is missed (a lost message, Redis away, an owner that never heard of
us) is noticed by asking PostgreSQL how far the runs have come: every second, or every 250 ms while
Redis does not answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

import msgspec
import redis.asyncio
import structlog

from agents.journal import entries, store, tail
from agents.journal.entries import Entry
from ideplatform.kit import ids
from ideplatform.kit import redis as kit_redis
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown

log = structlog.get_logger(__name__)

POLL_S = 0.25
POLLS_WHEN_LIVE = 4
BEAT_S = 1.0
SILENCE_S = 2.5
RENEW_S = 30.0
WATCH_KEPT_S = 120
_messages = msgspec.msgpack.Decoder(list[tuple[bytes, int, int, bytes]])

_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


class Watch:
    """What one follower has not taken yet, at most `limit_bytes`; beyond that it re-reads."""

    def __init__(self, run_id: UUID, *, cursor: int, limit_bytes: int) -> None:
        self.run_id = run_id
        self.cursor = cursor
        self.fence: int | None = None
        self.is_behind = True
        self.is_lagging = False
        self._limit = limit_bytes
        self._size = 0
        self._entries: deque[Entry] = deque()
        self._woken = asyncio.Event()

    def offer(self, entry: Entry) -> None:
        """A live entry; when the follower is too slow, all are dropped and the journal helps."""
        if self.is_lagging:
            return
        self._size += len(entry.body)
        if self._size > self._limit:
            self.is_lagging = True
            self._drop()
        else:
            self._entries.append(entry)
        self._woken.set()

    def fall_behind(self) -> None:
        """Something was missed: re-read."""
        self.is_behind = True
        self._woken.set()

    def take(self) -> list[Entry]:
        """The entries that came, oldest first."""
        taken = list(self._entries)
        self._drop()
        return taken

    async def wait(self, *, within_s: float | None = None) -> None:
        """Until something comes, or the time is over."""
        if not (self._entries or self.is_behind or self.is_lagging):
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._woken.wait()

    def _drop(self) -> None:
        self._entries.clear()
        self._size = 0


class Hub:
    """Receives for all watches of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.id = ids.new().hex.encode()
        self._loop = loop
        self._watches: dict[UUID, set[Watch]] = {}
        self._redis = kit_redis.async_client("tail")
        self._bus = kit_redis.async_client("bus")
        self._heard_at = float("-inf")
        self._tasks = [
            loop.create_task(self._listen(), name="hub-listen"),
            loop.create_task(self._beat(), name="hub-beat"),
            loop.create_task(self._poll(), name="hub-poll"),
        ]

    async def watch(self, run_id: UUID, *, cursor: int, limit_bytes: int) -> Watch:
        """Begin to receive a run's entries."""
        watch = Watch(run_id, cursor=cursor, limit_bytes=limit_bytes)
        watches = self._watches.setdefault(run_id, set())
        watches.add(watch)
        if len(watches) == 1:
            await self._announce([run_id])
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End of a follower. The owner's list forgets this hub when it expires."""
        watches = self._watches.get(watch.run_id, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.run_id, None)

    def watches(self, run_id: UUID) -> bool:
        """Whether anybody here follows the run; safe from other threads."""
        return run_id in self._watches

    def offer_soon(self, found: list[Entry]) -> None:
        """Entries of an owner in this process; safe from other threads."""
        with suppress(RuntimeError):  # the loop has just ended, and its followers with it
            self._loop.call_soon_threadsafe(self._offer, found)

    async def read_tail(self, run_id: UUID, *, fence: int, after: int) -> list[Entry]:
        """The tail after a cursor; nothing when Redis is gone."""
        if not self.is_live:
            return []
        try:
            return await tail.read(self._redis, run_id, fence=fence, after=after)
        except kit_redis.ERRORS:
            return []

    @property
    def is_live(self) -> bool:
        """Whether Redis brought our own beat back a moment ago."""
        return time.monotonic() - self._heard_at < SILENCE_S

    async def close(self) -> None:
        """End the loops; the hub of this event loop is gone."""
        _hubs.pop(self._loop, None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._redis.aclose()
        await self._bus.aclose()

    def _offer(self, found: list[Entry]) -> None:
        for entry in found:
            for watch in self._watches.get(entry.run_id, ()):
                watch.offer(entry)

    async def _listen(self) -> None:
        while True:
            client = kit_redis.async_client("tail", socket_timeout_s=2 * SILENCE_S)
            try:
                await self._receive(client)
            except kit_redis.ERRORS:
                await asyncio.sleep(POLL_S)
            except Exception:  # one bad message must not make every socket of this process deaf
                log.exception("hub.listening_failed")
                await asyncio.sleep(POLL_S)
            finally:
                with suppress(*kit_redis.ERRORS):
                    await client.aclose()

    async def _receive(self, client: redis.asyncio.Redis) -> None:
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(tail.live_channel(self.id))
            await self._announce(list(self._watches))
            self._fall_behind_all()
            silent_since = time.monotonic()
            while time.monotonic() - silent_since < 2 * SILENCE_S:
                message = await pubsub.get_message(timeout=BEAT_S)
                if message is not None:
                    silent_since = self._heard_at = time.monotonic()
                    self._dispatch(message["data"])

    def _dispatch(self, data: bytes) -> None:
        if not data:
            return
        for raw_id, _, seq, wire in _messages.decode(data):
            watches = self._watches.get(UUID(bytes=raw_id), ())
            if wire and watches:
                entry = entries.read(wire)
                for watch in watches:
                    watch.offer(entry)
            elif not wire:
                self._compare_one(watches, seq=seq)

    def _compare_one(self, watches: Iterable[Watch], *, seq: int) -> None:
        """A greeting: the owner knows us from this seq on; what came before may be missed."""
        for watch in watches:
            if watch.cursor != seq:
                watch.fall_behind()

    def _fall_behind_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.fall_behind()

    async def _announce(self, run_ids: list[UUID]) -> None:
        if not run_ids:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for run_id in run_ids:
            pipeline.sadd(tail.watchers_key(run_id), self.id)
            pipeline.expire(tail.watchers_key(run_id), WATCH_KEPT_S)
        with suppress(*kit_redis.ERRORS):
            await pipeline.execute()
            bells = self._bus.pipeline(transaction=False)
            for run_id in run_ids:
                bells.publish(tail.BELL, b"w" + run_id.bytes)
            await bells.execute()

    async def _beat(self) -> None:
        """Hear ourselves through Redis: a connection may be open and yet dead."""
        renewed_at = time.monotonic()
        while True:
            with suppress(*kit_redis.ERRORS):
                await self._redis.publish(tail.live_channel(self.id), b"")
            if time.monotonic() - renewed_at > RENEW_S:
                renewed_at = time.monotonic()
                await self._announce(list(self._watches))
            await asyncio.sleep(BEAT_S)

    async def _poll(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(POLL_S)
            turn += 1
            if not self._watches or (self.is_live and turn % POLLS_WHEN_LIVE):
                continue
            with suppress(DatabaseDown):
                self._compare(await run_db(store.heads, list(self._watches)))

    def _compare(self, heads: dict[UUID, tuple[int, int]]) -> None:
        for run_id, (last_seq, fence) in heads.items():
            for watch in self._watches.get(run_id, ()):
                has_other_owner = watch.fence is not None and watch.fence != fence
                if last_seq > watch.cursor or has_other_owner:
                    watch.fall_behind()


def here() -> Hub:
    """The hub of the running loop; it starts with its first follower."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        for ended in [other for other in _hubs if other.is_closed()]:
            del _hubs[ended]
        _hubs[loop] = Hub(loop)
    return _hubs[loop]


def local_ids() -> frozenset[bytes]:
    """The hubs of this process: they hear its own runs without Redis."""
    return frozenset(found.id for found in list(_hubs.values()))


def deliver_here(found: list[Entry]) -> None:
    """Hand one run's entries to the followers in this process."""
    for local in list(_hubs.values()):
        if local.watches(found[0].run_id):
            local.offer_soon(found)
