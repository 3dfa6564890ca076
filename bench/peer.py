"""LiteLLM's proxy as a floor, where `make bench-peers` installed it below `.bench-peers/`."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import ground
from bench.caller import Door
from bench.environment import free_port
from bench.harness import ROOT

PROGRAM = ROOT / ".bench-peers" / "litellm" / "bin" / "litellm"
MISSING = "LiteLLM is not installed (make bench-peers): its lines are left out"
_KEY = "sk-bench"
_WITHOUT_OURS = ("/usr/bin/env", "-u", "DATABASE_URL", "-u", "REDIS_URL")
_READY_S = 120


def is_installed() -> bool:
    return PROGRAM.exists()


@contextmanager
def litellm(upstream: str) -> Iterator[tuple[int, Door]]:
    """Its pid, and its door: one worker, a master key, no database, no logging of calls."""
    port = free_port()
    parameters = {"model": "openai/sim-echo", "api_base": f"{upstream}/v1", "api_key": "sk-up"}
    config = {
        "model_list": [{"model_name": "sim-echo", "litellm_params": parameters}],
        "general_settings": {"master_key": _KEY},
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(json.dumps(config), "utf-8")  # JSON is YAML
        words = (
            *_WITHOUT_OURS,
            str(PROGRAM),
            "--config",
            str(file),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        )
        # Its list of prices would be downloaded otherwise.
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        with ground.process(*words, log="litellm", environment=environment) as pid:
            url = f"http://127.0.0.1:{port}"
            _until_alive(url)
            yield pid, Door(url=url, key=_KEY)


def _until_alive(url: str) -> None:
    deadline = time.monotonic() + _READY_S
    while not _is_alive(url):
        if time.monotonic() > deadline:
            raise AssertionError(f"LiteLLM was not ready within {_READY_S} s")
        time.sleep(0.2)


def _is_alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health/liveliness", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
