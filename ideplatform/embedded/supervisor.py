"""Starts children, keeps them running and ends them in order: one asyncio process."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence

from ideplatform.embedded.children import Child, GaveUp, RestartPolicy
from ideplatform.embedded.output import Output
from ideplatform.embedded.processes import ChildSpec
from ideplatform.embedded.register import Register

SHUTDOWN_S = 30  # from the first signal to the SIGKILL of whatever is left
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """A person or the system asked for the end."""


class Supervisor:
    """Children in groups. Groups start in the order they are added and end in the reverse.

    The first signal ends the groups one after the other; the second kills them all.
    """

    def __init__(
        self, *, output: Output, register: Register, policy: RestartPolicy | None = None
    ) -> None:
        self._output = output
        self._register = register
        self._policy = policy or RestartPolicy()
        self._groups: list[list[Child]] = []
        self._keepers: dict[asyncio.Task[None], Child] = {}
        self._signals = 0
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The living children by name."""
        children = (child for group in self._groups for child in group)
        return {child.spec.name: child.pid for child in children if child.pid is not None}

    def listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for sign in STOP_SIGNALS:
            loop.add_signal_handler(sign, self._on_signal)

    def ignore_signals(self) -> None:
        """Give the signals back to Python's defaults."""
        loop = asyncio.get_running_loop()
        for sign in STOP_SIGNALS:
            loop.remove_signal_handler(sign)

    async def start(self, specs: Sequence[ChildSpec]) -> None:
        """Start a group of children and keep them running."""
        group: list[Child] = []
        self._groups.append(group)
        for spec in specs:
            child = Child(
                spec,
                output=self._output.stream(spec.name),
                register=self._register,
                policy=self._policy,
                say=self._output.say,
            )
            group.append(child)
        await asyncio.gather(*(child.start() for child in group))
        for child in group:
            keeper = asyncio.create_task(child.keep_running(), name=child.spec.name)
            keeper.add_done_callback(self._on_keeper_done)
            self._keepers[keeper] = child

    async def until_ended(self) -> None:
        """Wait for a signal (StopRequested) or for a child that is given up (GaveUp)."""
        await self._ended.wait()
        raise self._failure or StopRequested

    async def guard(self, work: asyncio.Task[None]) -> None:
        """Await ``work``, unless a signal or a given-up child comes first."""
        end = asyncio.create_task(self.until_ended())
        try:
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                await end
            await work
        finally:
            for task in (work, end):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def shut_down(self) -> None:
        """End all groups, last started first, within SHUTDOWN_S; then kill what is left."""
        deadline = time.monotonic() + SHUTDOWN_S
        for group in reversed(self._groups):
            left_s = max(0.0, deadline - time.monotonic())
            await asyncio.gather(*(child.stop(within_s=left_s) for child in group))
        for keeper in list(self._keepers):
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def kill_all(self) -> None:
        """SIGKILL for every group, at once."""
        for group in self._groups:
            for child in group:
                child.kill()

    def _on_signal(self) -> None:
        self._signals += 1
        self._ended.set()
        if self._signals > 1:
            self._output.say("second signal: killing every process")
            self.kill_all()

    def _on_keeper_done(self, keeper: asyncio.Task[None]) -> None:
        if keeper.cancelled() or (error := keeper.exception()) is None:
            return
        self._failure = self._failure or error
        if isinstance(error, GaveUp):
            self._output.say(f"{error}; its last {len(error.lines)} lines:")
            for line in error.lines:
                self._output.show(error.name, line)
        self._ended.set()
