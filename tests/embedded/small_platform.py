"""A supervisor with small children, for tests that kill it.

Arguments: the data directory and a JSON list of [name, program, stop order]. Each program
is Python source; it may use the file names ``DIR`` and its own ``NAME``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from ideplatform.embedded.children import GaveUp, RestartPolicy
from ideplatform.embedded.lock import DirectoryLock
from ideplatform.embedded.output import Console, Output
from ideplatform.embedded.processes import ChildSpec
from ideplatform.embedded.register import Register
from ideplatform.embedded.supervisor import StopRequested, Supervisor

POLICY = RestartPolicy(first_delay_s=0.05, longest_delay_s=0.2, max_deaths=5, window_s=60)


def specs(data_dir: Path, programs: list[tuple[str, str, int]]) -> list[ChildSpec]:
    return [
        ChildSpec(
            name=name,
            argv=[sys.executable, "-c", program],
            env={**os.environ, "DIR": str(data_dir), "NAME": name},
            stop_order=order,
            stop_timeout_s=1,
        )
        for name, program, order in programs
    ]


async def run(data_dir: Path, programs: list[tuple[str, str, int]]) -> int:
    console = Console()
    output = Output(data_dir / "logs", console)
    register = Register(data_dir / "children.json")
    supervisor = Supervisor(output=output, register=register, policy=POLICY)
    supervisor.listen_for_signals()
    for name in register.end_stale():
        output.say(f"ended stale {name}")
    await supervisor.start(specs(data_dir, programs))
    output.say("up")
    try:
        await supervisor.until_ended()
    except StopRequested:
        return 0
    except GaveUp as error:
        return error.exit_code
    finally:
        await supervisor.shut_down()
        console.close()
    return 0


def main() -> int:
    data_dir = Path(sys.argv[1])
    with DirectoryLock(data_dir) as lock:
        lock.announce("http://127.0.0.1:1")
        return asyncio.run(run(data_dir, json.loads(sys.argv[2])))


if __name__ == "__main__":
    sys.exit(main())
