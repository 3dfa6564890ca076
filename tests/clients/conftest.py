"""One platform for all clients: raised once, asked by each client through each type of provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients import installed, runner
from tests.clients.runner import Site
from tests.faults.platform import running_platform


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert installed.is_current(), "make clients installs the programs"
    with (
        running_platform(tmp_path_factory.mktemp("clients")) as platform,
        runner.furnished(platform) as furnished,
    ):
        yield furnished


@pytest.fixture(params=runner.VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)
