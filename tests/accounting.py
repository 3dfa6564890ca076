"""The suite's account of access: a pytest plugin (`-p tests.accounting`).

Each process notes every authorisation that `kit.accounting` reports; with xdist the workers hand
their notes to the controller. When the whole suite ran, an entry that declares nothing, or that
never met both an allow and a deny, fails it. A selection (a path, `-k`, `--lf`) proves nothing
either way and is not judged.
"""

from __future__ import annotations

from typing import Any

import pytest

NOTES = pytest.StashKey[set[tuple[str, str, str]]]()
FAULTS = pytest.StashKey[list[str]]()
_WORKER_OUTPUT = "accounting"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOTES] = set()
    config.stash[FAULTS] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    from ideplatform.kit import accounting

    notes = session.config.stash[NOTES]
    accounting.listen(lambda *note: notes.add((note[0], str(note[1]), note[2])))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """xdist: a worker ended and left its notes."""
    handed = getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT, [])
    node.config.stash[NOTES].update(tuple(note) for note in handed)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    notes = config.stash[NOTES]
    if hasattr(config, "workeroutput"):
        config.workeroutput[_WORKER_OUTPUT] = sorted(notes)
    elif exitstatus == pytest.ExitCode.OK and _ran_whole(config):
        from tests.house import entries

        config.stash[FAULTS] = entries.unmet(entries.every(), notes)
        if config.stash[FAULTS]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    faults = config.stash[FAULTS]
    if faults:
        terminalreporter.section("access without an account", red=True)
        for fault in faults:
            terminalreporter.line(fault)


def _ran_whole(config: pytest.Config) -> bool:
    """Whether nothing narrowed the run but the marks of the slow parts."""
    narrowing = ("keyword", "lf", "stepwise", "collectonly", "deselect", "ignore", "ignore_glob")
    by_paths = config.args_source != pytest.Config.ArgsSource.TESTPATHS
    by_mark = config.getoption("markexpr") not in ("", _GATE)
    return not by_paths and not by_mark and not any(config.getoption(n, None) for n in narrowing)


_GATE = "not scale and not faults and not browser"
"""What `make test` selects."""
