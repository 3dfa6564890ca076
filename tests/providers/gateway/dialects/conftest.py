"""One server and both SDKs for all these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.providers.gateway.dialects.vendors import Readers, running_readers


@pytest.fixture(scope="session")
def readers() -> Iterator[Readers]:
    with running_readers() as running:
        yield running
