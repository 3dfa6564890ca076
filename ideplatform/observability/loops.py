"""How late a process's event loop is, and that it turns at all."""

from __future__ import annotations

import asyncio
import time

from ideplatform.observability import health, metrics

PERIOD_S = 0.5


async def watch(name: str) -> None:
    """Measure the running loop for as long as it runs; `/health` fails when it stands still."""
    try:
        while True:
            asked_at = time.monotonic()
            await asyncio.sleep(PERIOD_S)
            lag_s = time.monotonic() - asked_at - PERIOD_S
            metrics.event_loop_lag_seconds.set(max(0.0, lag_s))
            health.moved(name)
    finally:
        health.forget(name)
