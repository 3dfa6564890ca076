"""One answer of a vendor that may be asked again shortly: for rare questions, not for calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Final

from ideplatform.kit.egress import Timeouts
from providers.adapters import wire
from providers.adapters.contract import Route
from providers.errors import VendorError

TIMEOUTS: Final = Timeouts(connect_s=5, first_byte_s=60, idle_s=30, total_s=120)
MOST_BYTES: Final = 16 * 1024 * 1024
LONGEST_WAIT_S: Final = 5
TRIES: Final = 4
FIRST_WAIT_S: Final = 0.25


async def asked(
    method: str, route: Route, path: str, *, headers: Mapping[str, str], body: bytes | None = None
) -> bytes:
    """The whole answer. One that is refused for a few seconds is asked for again, three times.

    Raises VendorError, and the errors of `kit.egress`.
    """
    for number in range(TRIES - 1):
        try:
            return await _once(method, route, path, headers, body)
        except VendorError as refused:
            wait_s = _wait_s(refused, number)
            if not refused.retryable or wait_s > LONGEST_WAIT_S:
                raise
            await asyncio.sleep(wait_s)
    return await _once(method, route, path, headers, body)


def _wait_s(refused: VendorError, number: int) -> float:
    """What the vendor asks for, else 0.25, 0.5 and 1 second with jitter."""
    if refused.retry_after_s is not None:
        return refused.retry_after_s
    return float(FIRST_WAIT_S * 2**number * random.uniform(0.5, 1))


async def _once(
    method: str, route: Route, path: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    async with wire.exchange(
        method, route, path, headers=headers, body=body, timeouts=TIMEOUTS, max_bytes=MOST_BYTES
    ) as response:
        return await response.read()
