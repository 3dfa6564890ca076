"""How many tokens a call's input is: the vendor's own count where it has one, else an estimate."""

from __future__ import annotations

from typing import Final

import structlog

from ideplatform.kit.egress import Timeouts
from ideplatform.kit.errors import PlatformError
from providers import adapters
from providers.services import estimation, keys, routing
from providers.types import Call

log = structlog.get_logger(__name__)

TIMEOUTS: Final = Timeouts(connect_s=5, first_byte_s=10, idle_s=10, total_s=15)


async def count(call: Call) -> int:
    """Input tokens of a call on the route that would serve it; nobody is billed.

    A vendor that does not count, or fails to, is replaced by the usual figure of its model.
    Raises what planning a route raises: ModelNotFound, NoReadyTarget, ModelUnpriced.
    """
    route, *_ = await routing.planned(call)
    try:
        key = await keys.of_call(route, purpose="provider_call")
        adapter = adapters.of(route.provider_type)
        counted = await adapter.count_tokens(call, route, key, TIMEOUTS)
    except PlatformError as failed:
        log.info("token_count.estimated", code=failed.code, provider_id=str(route.provider_id))
        counted = None
    if counted is not None:
        return counted
    return max(1, round(estimation.input_bytes(call) * route.ratio.input))
