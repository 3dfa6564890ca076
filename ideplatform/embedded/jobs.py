"""Programs that run once on the way up: migrations, the demo seed."""

import asyncio
import contextlib
import signal

from ideplatform.embedded import processes
from ideplatform.embedded.children import describe
from ideplatform.embedded.errors import EmbeddedError
from ideplatform.embedded.output import ChildOutput, Lines
from ideplatform.embedded.processes import ChildSpec


class JobFailed(EmbeddedError):
    """A program that had to succeed did not; ``lines`` are its last words."""

    def __init__(self, name: str, code: int, lines: list[str]) -> None:
        super().__init__("\n".join([f"{name} failed with {describe(code)}:", *lines]))


async def run(spec: ChildSpec, output: ChildOutput) -> str:
    """Run ``spec`` to its end and answer its standard output.

    Standard error goes to the logs, standard output does not: it may hold the passwords
    of the demo users. Raises JobFailed on any other end than status 0.
    """
    process = await asyncio.create_subprocess_exec(
        *spec.argv,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **processes.popen_options(spec),
    )
    try:
        answer, _ = await asyncio.gather(_all_of(process.stdout), _log(process.stderr, output))
        code = await process.wait()
    finally:
        processes.kill_group(process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if code:
        raise JobFailed(spec.name, code, output.last_lines)
    return answer.decode("utf-8", errors="replace")


async def _all_of(pipe: asyncio.StreamReader | None) -> bytes:
    return await pipe.read() if pipe is not None else b""


async def _log(pipe: asyncio.StreamReader | None, output: ChildOutput) -> None:
    lines = Lines(output)
    while pipe is not None and (data := await pipe.read(65_536)):
        lines.feed(data)
    lines.end()
