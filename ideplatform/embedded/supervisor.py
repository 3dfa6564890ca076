"""Starts children, keeps them running and ends them in order: one asyncio process."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from itertools import groupby

from ideplatform.embedded.children import Child, GaveUp, RestartPolicy
from ideplatform.embedded.output import Output
from ideplatform.embedded.processes import ChildSpec
from ideplatform.embedded.register import Register

SHUTDOWN_S = 30  # from the first signal to the SIGKILL of whatever is left
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """A person or the system asked for the end."""


class Supervisor:
    """Children that start when they are handed over and end by their ``stop_order``.

    The first signal asks for the end, the second kills every process group.
    """

    def __init__(
        self, *, output: Output, register: Register, policy: RestartPolicy | None = None
    ) -> None:
        self._output = output
        self._register = register
        self._policy = policy or RestartPolicy()
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._signals = 0
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The living children by name."""
        living = ((child.spec.name, child.pid) for child in self._children)
        return {name: pid for name, pid in living if pid is not None}

    def listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for sign in STOP_SIGNALS:
            loop.add_signal_handler(sign, self._on_signal)

    async def start(self, specs: Sequence[ChildSpec]) -> None:
        """Start children at the same time and keep them running."""
        children = [self._child(spec) for spec in specs]
        self._children += children
        await asyncio.gather(*(child.start() for child in children))
        for child in children:
            keeper = asyncio.create_task(child.keep_running(), name=child.spec.name)
            keeper.add_done_callback(self._on_keeper_done)
            self._keepers.append(keeper)

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
        """End all children by their order, within SHUTDOWN_S; what is left then is killed."""
        deadline = time.monotonic() + SHUTDOWN_S
        ordered = sorted(self._children, key=_stop_order)
        for _, group in groupby(ordered, key=_stop_order):
            left_s = max(0.0, deadline - time.monotonic())
            await asyncio.gather(*(child.stop(within_s=left_s) for child in group))
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def kill_all(self) -> None:
        """SIGKILL for every process group, at once."""
        for child in self._children:
            child.kill()

    def _child(self, spec: ChildSpec) -> Child:
        return Child(
            spec,
            output=self._output.stream(spec.name),
            register=self._register,
            policy=self._policy,
            say=self._output.say,
        )

    def _on_signal(self) -> None:
        self._signals += 1
        self._ended.set()
        if self._signals == 1:
            self._output.say("stopping; a second signal kills every process at once")
        else:
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


def _stop_order(child: Child) -> int:
    return child.spec.stop_order
