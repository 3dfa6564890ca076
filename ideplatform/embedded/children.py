"""One child process through all its deaths and restarts."""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ideplatform.embedded import processes
from ideplatform.embedded.errors import EmbeddedError
from ideplatform.embedded.output import ChildOutput, Lines
from ideplatform.embedded.processes import ChildSpec
from ideplatform.embedded.register import Register

MAX_DEATHS = 5
LONGEST_DELAY_S = 30.0
LAST_WORDS_S = 1.0  # a grandchild may hold the pipe open after its parent has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a dead child starts again, and when it is given up."""

    first_delay_s: float = 0.5
    longest_delay_s: float = LONGEST_DELAY_S
    max_deaths: int = MAX_DEATHS
    window_s: float = 60  # of that many deaths; also the life after which delays start anew


class GaveUp(EmbeddedError):
    """A child died too often; ``lines`` are its last words."""

    def __init__(self, name: str, deaths: int, window_s: float, lines: list[str]) -> None:
        super().__init__(f"{name} died {deaths} times in {window_s:g} s and is given up")
        self.name = name
        self.lines = lines


class Child:
    """Keeps one process running until it is stopped or given up."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        output: ChildOutput,
        register: Register,
        policy: RestartPolicy,
        say: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self._output = output
        self._register = register
        self._policy = policy
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=policy.max_deaths)
        self._quick_deaths = 0
        self._starting = asyncio.Lock()  # a stop must not miss a process that is being made

    @property
    def pid(self) -> int | None:
        """The living process, None between two lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the process once; EmbeddedError when it cannot be."""
        async with self._starting:
            if self.spec.prepare is not None:
                await asyncio.to_thread(self.spec.prepare)
            if not self._stopping.is_set():
                await self._spawn()

    async def _spawn(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                **processes.popen_options(self.spec),
            )
        except OSError as error:
            raise EmbeddedError(f"{self.spec.name} could not be started: {error}") from error
        self._register.add(self.spec, self._process.pid)
        if self._process.stdout is not None:
            self._pump = asyncio.create_task(self._read(self._process.stdout))

    async def keep_running(self) -> None:
        """Restart the process whenever it dies; returns after ``stop``, raises GaveUp."""
        while not self._stopping.is_set():
            born = time.monotonic()
            code = await self._end_of_life()
            if self._stopping.is_set():
                return
            delay_s = self._count_death(lived_s=time.monotonic() - born)
            self._say(f"{self.spec.name} ended with {describe(code)}; restart in {delay_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
                return
            await self.start()

    async def stop(self, *, within_s: float) -> None:
        """Ask the process to end, wait, then kill its group; never restart it."""
        self._stopping.set()
        async with self._starting:
            process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.spec.stop_signal)
            limit_s = min(self.spec.stop_timeout_s, within_s)
            try:
                await asyncio.wait_for(process.wait(), limit_s)
            except TimeoutError:
                self._say(f"{self.spec.name} did not end in {limit_s:g} s and is killed")
                self.kill()
        code = await self._end_of_life()
        if code not in self.spec.clean_exits and code != -self.spec.stop_signal:
            self._say(f"{self.spec.name} ended with {describe(code)}")

    def kill(self) -> None:
        """SIGKILL for the whole process group, at once."""
        self._stopping.set()
        if self._process is not None:
            processes.kill_group(self._process.pid, signal.SIGKILL)

    async def _end_of_life(self) -> int:
        """Wait for the end, read the last words, leave no member of the group behind."""
        process = self._process
        if process is None:
            return 0
        code = await process.wait()
        processes.kill_group(process.pid, signal.SIGKILL)
        if self._pump is not None:
            await asyncio.wait([self._pump], timeout=LAST_WORDS_S)
            self._pump.cancel()
        self._register.remove(self.spec.name)
        return code

    async def _read(self, pipe: asyncio.StreamReader) -> None:
        lines = Lines(self._output)
        try:
            while data := await pipe.read(65_536):
                lines.feed(data)
        finally:
            lines.end()

    def _count_death(self, *, lived_s: float) -> float:
        """Note a death; answer the pause before the next life or raise GaveUp."""
        policy, now = self._policy, time.monotonic()
        self._deaths.append(now)
        recent = sum(now - death <= policy.window_s for death in self._deaths)
        if recent >= policy.max_deaths:
            lines = self._output.last_lines
            raise GaveUp(self.spec.name, recent, policy.window_s, lines)
        if lived_s >= policy.window_s:
            self._quick_deaths = 0
        delay_s = policy.first_delay_s * 2.0**self._quick_deaths
        self._quick_deaths += 1
        return min(delay_s, policy.longest_delay_s)


def describe(code: int) -> str:
    """An exit status as a person says it."""
    if code >= 0:
        return f"status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
