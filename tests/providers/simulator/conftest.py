"""One simulator for all these tests, forgetting everything between them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as google_types

from tests.fakes.simulator import SimulatorHandle, running_simulator

KEY = "sk-simulated-0001"


@pytest.fixture(scope="session")
def running() -> Iterator[SimulatorHandle]:
    with running_simulator() as handle:
        yield handle


@pytest.fixture
def simulator(running: SimulatorHandle) -> SimulatorHandle:
    running.reset()
    return running


def openai_client(simulator: SimulatorHandle, key: str = KEY, retries: int = 0) -> Any:
    """The SDK, untyped: these tests send what its types forbid and read unions by their tag."""
    return openai.OpenAI(base_url=f"{simulator.url}/v1", api_key=key, max_retries=retries)


def anthropic_client(simulator: SimulatorHandle, key: str = KEY, retries: int = 0) -> Any:
    return anthropic.Anthropic(base_url=simulator.url, api_key=key, max_retries=retries)


@cache  # the SDK closes a client that nobody holds, even while its call runs
def _google_client(url: str, key: str) -> genai.Client:
    options = google_types.HttpOptions(base_url=url)
    return genai.Client(api_key=key, http_options=options, vertexai=False)


def google_client(simulator: SimulatorHandle, key: str = KEY) -> Any:
    return _google_client(simulator.url, key)
