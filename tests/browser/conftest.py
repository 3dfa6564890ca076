"""A real browser: the machine's Chromium, or the one that Playwright brought."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.platform import Platform, running_platform

# Chromium reaches for its maker's hosts at every start unless it is told not to.
QUIET = [
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-first-run", "--disable-quic", "--disable-gpu"),
]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    own = shutil.which("chromium") or shutil.which("chromium-browser")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return browser_type_launch_args | {"executable_path": own, "args": QUIET + sandbox}


@pytest.fixture(scope="session", autouse=True)
def _database_beside_playwright() -> Iterator[None]:
    """Playwright's loop runs in this thread, in which tests also use the database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One whole platform for all pages."""
    with running_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture(scope="session")
def screens(request: pytest.FixtureRequest) -> Path:
    """Where screenshots go: `SCREENS=docs/screens` renews those of the documentation."""
    given = os.environ.get("SCREENS")
    return Path(given) if given else request.config.rootpath / ".pytest_cache" / "screens"
