"""The paid door: every call to a vendor passes `stream` or `embed`, and nothing else opens a key.

Walk: alias -> routes -> dispatch -> adapter -> chunks -> settlement. Another try, on the same
route or the next, happens only before the first token; each try has its own number and its own
usage event.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final, Generic

import msgspec
import structlog
from django.conf import settings

from ideplatform.kit import money
from ideplatform.kit.db import run_db
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, NotReachable, Timeouts
from ideplatform.kit.errors import PaymentRequired, PlatformError
from providers.adapters import Route
from providers.errors import (
    AccessDenied,
    BadKey,
    KeyReplaced,
    ModelMissing,
    NoCredit,
    Overloaded,
    ProviderNotReady,
    RateLimited,
    VendorBroken,
)
from providers.services import routing
from providers.services.attempts import Attempt, C
from providers.types import Call, Capability, Chunk, EmbedCall, Embeddings, Reasoning

log = structlog.get_logger(__name__)

MAX_RETRIES: Final = 2
BACK_OFF_S: Final = 0.25
MAX_RETRY_AFTER_S: Final = 5
_AGAIN: Final = (NotReachable, AnswerTimeout, AnswerBroken, VendorBroken, Overloaded)
# Another try of the same account is pointless, another account may do.
_ELSEWHERE: Final = (BadKey, AccessDenied, NoCredit, ModelMissing, RateLimited, ProviderNotReady)


async def stream(call: Call) -> AsyncGenerator[Chunk, None]:
    """The answer to a call: Started, content, Answered, one final Usage with its price, Stop.

    Raises PlatformErrors, before the first chunk or in the middle of the answer; a closed or
    cancelled stream ends the vendor's work and is settled as estimated. An answer that outruns
    its wallet, budget or ceiling ends with Stop(budget), then PaymentRequired. Attempts are
    numbered from `call.attempt`. The same request id and attempt never leave twice:
    CallRepeated (409).
    """
    ends_at = time.monotonic() + call.deadline_s
    routes = await routing.planned(call)
    tries = _Tries(call, routes, ends_at)
    for attempt in tries:
        try:
            async with aclosing(attempt.stream(tries.timeouts())) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        except PlatformError as error:
            if attempt.has_spoken:
                raise
            await tries.after(error)


async def embed(call: EmbedCall) -> Embeddings:
    """The vectors of some texts, in their order; raises as `stream` does."""
    ends_at = time.monotonic() + call.deadline_s
    routes = await routing.planned(call)
    tries = _Tries(call, routes, ends_at)
    for attempt in tries:
        try:
            answer, settlement = await attempt.embed(tries.timeouts())
        except PlatformError as error:
            await tries.after(error)
            continue
        if settlement is None:
            return answer
        cost = settlement.cost_usd
        return msgspec.structs.replace(
            answer,
            tokens=settlement.tokens,
            cost_usd=None if cost is None else money.text(cost),
            usage_event_id=settlement.event_id,
        )
    raise AssertionError("the last try raises")


class _Tries(Generic[C]):
    """The attempts of a call in order; `after` waits before the next, or raises at the end."""

    def __init__(self, call: C, routes: tuple[Route, ...], ends_at: float) -> None:
        self._call: C = call
        self._routes = routes
        self._ends_at = ends_at
        self._route_no = 0
        self._retries = 0
        self._made = 0
        self._is_degraded = False
        self._is_replanned = False

    def __iter__(self) -> Iterator[Attempt[C]]:
        while True:
            call = _fitted(self._call, self._route)
            numbered = msgspec.structs.replace(call, attempt=self._call.attempt + self._made)
            self._made += 1
            yield Attempt(numbered, self._route, requested_model=self._call.model)

    @property
    def _route(self) -> Route:
        return self._routes[self._route_no]

    def timeouts(self) -> Timeouts:
        """The route's deadlines inside what is left of the call's own; raises AnswerTimeout."""
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise AnswerTimeout
        own, env = self._route.config.timeouts, settings.ENV
        if isinstance(self._call, Call) and self._call.reasoning.level != "off":
            first_byte_s = own.reasoning_first_byte_s or env.gateway_reasoning_first_byte_s
        else:
            first_byte_s = own.first_byte_s or env.gateway_first_byte_s
        return Timeouts(
            connect_s=min(own.connect_s, left_s * 0.9),
            first_byte_s=first_byte_s,
            idle_s=own.idle_s or env.gateway_idle_s,
            total_s=left_s,
        )

    async def after(self, error: PlatformError) -> None:
        """Choose what follows a failed try that had not spoken; raises when nothing does."""
        if isinstance(error, PaymentRequired) and not self._is_degraded:
            await self._degrade(error)
            return
        if isinstance(error, KeyReplaced) and not self._is_replanned:
            await self._plan_again()
            return
        pause_s = self._pause_s(error)
        left_s = self._ends_at - time.monotonic()
        if pause_s is not None and self._retries < MAX_RETRIES and pause_s < left_s:
            self._retries += 1
            await asyncio.sleep(pause_s)
        elif isinstance(error, _AGAIN + _ELSEWHERE) and self._has_next and left_s > 0:
            self._route_no += 1
            self._retries = 0
        else:
            raise error
        log.info(
            "provider_call.tried_again",
            request_id=str(self._call.request_id),
            code=error.code,
            provider_id=str(self._route.provider_id),
        )

    async def _degrade(self, error: PaymentRequired) -> None:
        """Go on with the cheaper model that a full budget names; raises where it names none."""
        model = error.extra.get("degrade_to")
        if not isinstance(model, str):
            raise error
        self._is_degraded = True
        self._call = msgspec.structs.replace(self._call, model=model)
        self._routes = await routing.planned(self._call)
        self._route_no = self._retries = 0
        log.info("provider_call.degraded", request_id=str(self._call.request_id), model=model)

    async def _plan_again(self) -> None:
        """By the database: what was planned by memory may be a second old."""
        self._is_replanned = True
        self._routes = await run_db(routing.plan, self._call)
        self._route_no = self._retries = 0

    @property
    def _has_next(self) -> bool:
        return self._route_no + 1 < len(self._routes)

    def _pause_s(self, error: PlatformError) -> float | None:
        """How long to wait before the same route again; None when that is pointless."""
        if self._route.is_trial:
            return None
        if isinstance(error, RateLimited):
            asked_s = error.retry_after_s
            if asked_s is None or asked_s > MAX_RETRY_AFTER_S:
                return None
            return float(asked_s)
        if isinstance(error, _AGAIN):
            return random.uniform(0, BACK_OFF_S * 2**self._retries)
        return None


def _fitted(call: C, route: Route) -> C:
    """The call as this model can take it: what it is known not to do is not asked of it."""
    if isinstance(call, EmbedCall):
        return call
    changes: dict[str, object] = {}
    known = route.capabilities
    if known is not None and Capability.THINKING not in known:
        changes["reasoning"] = Reasoning()
    limit, asked = route.max_output_tokens, call.max_output_tokens
    if limit is not None and asked is not None and asked > limit:
        changes["max_output_tokens"] = limit
    return msgspec.structs.replace(call, **changes) if changes else call
