"""Programs that run once: their answer stays private, their failure is explained."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from ideplatform.embedded import jobs
from ideplatform.embedded.output import Console, Output
from ideplatform.embedded.processes import ChildSpec


def a_job(program: str) -> ChildSpec:
    return ChildSpec(name="job", argv=[sys.executable, "-c", program], env=dict(os.environ))


async def test_what_a_job_answers_reaches_no_log(tmp_path: Path):
    terminal = io.StringIO()
    console = Console(terminal)
    output = Output(tmp_path, console)
    program = "import sys; print('a password'); print('at work', file=sys.stderr)"
    assert await jobs.run(a_job(program), output.stream("job")) == "a password\n"
    console.close()
    assert terminal.getvalue() == "job | at work\n"
    assert (tmp_path / "job.log").read_text() == "at work\n"


async def test_a_failed_job_shows_its_last_words(tmp_path: Path):
    console = Console(io.StringIO())
    program = "import sys; print('no such table', file=sys.stderr); sys.exit(4)"
    with pytest.raises(jobs.JobFailed, match=r"^job failed with status 4:\nno such table$"):
        await jobs.run(a_job(program), Output(tmp_path, console).stream("job"))
    console.close()
