"""One dispatched call from its row to its usage event, however it ends.

The row is committed before the first byte leaves and settled on every way out: a consumer that
goes away, a vendor that fails and a cancelled task all end in exactly one usage event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from billing.errors import HoldEnded
from billing.types import (
    Accuracy,
    Operation,
    Outcome,
    ProviderCallRecord,
    Settlement,
    TokenCount,
)
from ideplatform.kit import money
from ideplatform.kit.crypto import Secret
from ideplatform.kit.db import run_db
from ideplatform.kit.egress import (
    AnswerBroken,
    AnswerTimeout,
    NotReachable,
    Timeouts,
    TlsFailed,
)
from ideplatform.kit.errors import PaymentRequired, PlatformError
from ideplatform.kit.failpoints import ahit
from ideplatform.observability import metrics
from providers import adapters
from providers.adapters import Route
from providers.errors import VendorError
from providers.services import calls, estimation, health, keys, leases, places, settling
from providers.services.calls import Progress
from providers.services.quoting import Meter
from providers.types import (
    Answered,
    Call,
    Chunk,
    EmbedCall,
    Embeddings,
    Passed,
    Refusal,
    Started,
    Stop,
    StopReason,
    Text,
    Thinking,
    ToolArguments,
    ToolCall,
    Usage,
)

C = TypeVar("C", Call, EmbedCall)
CLIENT_GONE: Final = 499


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a call ended. `tokens` is the vendor's count; None: the call must be estimated."""

    outcome: Outcome
    status: int
    tokens: TokenCount | None = None
    error: PlatformError | None = None


GONE = Ending(outcome=Outcome.CLIENT_CANCELLED, status=CLIENT_GONE)
CUT_OFF = Ending(outcome=Outcome.CLIENT_CANCELLED, status=200)


class Attempt(Generic[C]):
    """One try of a call on one route. `has_spoken` once a chunk was given out."""

    def __init__(self, call: C, route: Route, *, requested_model: str) -> None:
        self.call: C = call
        self.route = route
        self.requested_model = requested_model
        self.has_spoken = False
        self.progress = Progress(
            request_id=call.request_id,
            attempt=call.attempt,
            input_bytes=estimation.input_bytes(call),
            served_model=route.model,
        )
        self._dispatched_at: datetime
        self._started = 0.0
        self._is_answered = False
        self._is_whole = False
        self._meter: Meter
        self._fitted_tokens: int | None = None
        self._settlement: asyncio.Task[Settlement | None] | None = None

    async def stream(self: Attempt[Call], timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """The chunks, none before the first token; the final Usage carries the settled price.

        Answered is taken by the consumer before the settlement begins.

        An answer that may cost no more ends with Stop(budget), then PaymentRequired is raised.
        """
        key = await self._dispatch(timeouts)
        call = self.call
        if (
            self._fitted_tokens is not None
        ):  # the money is short: the vendor is told how far it goes
            call = msgspec.structs.replace(call, max_output_tokens=self._fitted_tokens)
        adapter = adapters.of(self.route.provider_type)
        answer = adapter.stream(call, self.route, key, timeouts)
        ending = GONE
        with leases.held(self.progress):
            try:
                async with aclosing(answer), aclosing(self._told(answer, timeouts)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except (PaymentRequired, HoldEnded):
                raise  # cut off and settled
            except PlatformError as error:
                ending = self._failure(error)
                raise
            except Exception:
                ending = Ending(outcome=Outcome.PROVIDER_ERROR, status=self._status())
                raise
            finally:
                await self._leave(ending)

    async def embed(
        self: Attempt[EmbedCall], timeouts: Timeouts
    ) -> tuple[Embeddings, Settlement | None]:
        """The vectors and what they cost."""
        key = await self._dispatch(timeouts)
        adapter = adapters.of(self.route.provider_type)
        ending = GONE
        with leases.held(self.progress):
            try:
                async with asyncio.timeout(timeouts.total_s):
                    answer = await adapter.embed(self.call, self.route, key, timeouts)
                self._answered(answer.model, answer.provider_request_id)
                tokens = answer.tokens if answer.tokens.quantities else None
                settlement = await self._settle(
                    Ending(outcome=Outcome.OK, status=200, tokens=tokens)
                )
            except PlatformError as error:
                ending = self._failure(error)
                raise
            except TimeoutError:
                ending = self._failure(AnswerTimeout())
                raise AnswerTimeout from None
            except Exception:
                ending = Ending(outcome=Outcome.PROVIDER_ERROR, status=self._status())
                raise
            finally:
                await self._leave(ending)
        return answer, settlement

    async def _dispatch(self, timeouts: Timeouts) -> Secret | None:
        provider_id = self.route.provider_id
        places.occupy(provider_id, at_most=self.route.config.max_concurrency)
        is_admitted = False
        try:
            key = await keys.of_call(self.route, purpose="provider_call")
            self._dispatched_at, self._meter = await self._admit(timeouts)
            self._started = time.monotonic()
            is_admitted = True
        finally:
            if not is_admitted:
                places.release(provider_id)
        return key

    async def _admit(self, timeouts: Timeouts) -> tuple[datetime, Meter]:
        """The money, the call on record before it leaves, the trial.

        The trial comes last: a caller without money must not use up the one that is allowed.
        """
        opening = calls.Opening(
            call=self.call,
            route=self.route,
            requested_model=self.requested_model,
            progress=self.progress,
            timeout_s=timeouts.idle_s,
        )
        dispatched_at = await opening.commit()
        if isinstance(opening.call, Call) and opening.call is not self.call:
            self._fitted_tokens = opening.call.max_output_tokens
        try:
            if self.route.is_trial:
                await run_db(health.claim, self.route)
            await ahit("reserved")
        except BaseException:  # whatever it was, nothing leaves
            settling.withdraw(self.progress.hold_id)
            raise
        return dispatched_at, opening.meter

    async def _told(
        self, answer: AsyncIterator[Chunk], timeouts: Timeouts
    ) -> AsyncGenerator[Chunk, None]:
        """What the consumer is told: held back until the first token, so a fault can fall back."""
        await ahit("called")
        opening: list[Chunk] = []
        while (chunk := await self._next(answer, timeouts)) is not None:
            match chunk:
                case Started(model=model, provider_request_id=name):
                    self._answered(model, name)
                    opening.append(self._introduced(chunk))
                    continue
                case Usage(tokens=tokens, service_tier=tier):
                    self.progress.usage, self.progress.service_tier = tokens, tier
                    continue
                case Stop(reason=reason):
                    opening.append(self._whole(reason))
                case _:
                    self._note_size(chunk)
            await ahit("mid_stream" if self.has_spoken else "first_token")
            self.has_spoken = True
            for held in opening:
                yield held
            opening.clear()
            if isinstance(chunk, Stop):
                yield await self._final(self._ended_well())
                yield chunk
                return
            yield chunk
            if not self._meter.is_content(self.progress.output_bytes):
                try:
                    await self._meter.extend(self.progress.hold_id, self.progress.output_bytes)
                except (PaymentRequired, HoldEnded):
                    yield await self._final(CUT_OFF)
                    yield Stop(reason=StopReason.BUDGET)
                    raise
        raise AnswerBroken

    async def _next(self, answer: AsyncIterator[Chunk], timeouts: Timeouts) -> Chunk | None:
        """The next chunk within the first-token or the total deadline; raises AnswerTimeout."""
        is_waiting = self.progress.first_token_ms is None
        deadline_s = timeouts.first_byte_s if is_waiting else timeouts.total_s
        left_s = self._started + min(deadline_s, timeouts.total_s) - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                return await anext(answer, None)
        except TimeoutError:
            raise AnswerTimeout from None

    def _answered(self, model: str, provider_request_id: str) -> None:
        self._is_answered = True
        self.progress.served_model = (model or self.route.model)[:250]
        self.progress.provider_request_id = provider_request_id[:200]

    def _introduced(self, chunk: Started) -> Started:
        return Started(
            model=self.progress.served_model,
            provider=self.route.slug,
            provider_request_id=chunk.provider_request_id,
            dropped=chunk.dropped,
            max_output_tokens=self._fitted_tokens,
        )

    def _note_size(self, chunk: Chunk) -> None:
        match chunk:
            case Text(text=text) | Thinking(text=text) | ToolArguments(delta=text):
                size = len(text) if text.isascii() else len(text.encode())
            case Refusal(text=text):
                size = len(text.encode())
            case ToolCall(name=name):
                size = len(name)
            case Passed(size=size) if size:
                pass
            case _:
                return
        self.progress.output_bytes += size
        if self.progress.first_token_ms is None:
            seconds = time.monotonic() - self._started
            self.progress.first_token_ms = round(seconds * 1_000)
            provider = self.route.provider_type.value
            metrics.llm_time_to_first_token_seconds.labels(provider=provider).observe(seconds)

    def _whole(self, reason: StopReason) -> Answered:
        self._is_whole = True
        ending = self._ended_well()
        return Answered(
            attempt=self.progress.attempt,
            reason=reason,
            tokens=self._tokens(ending),
            is_estimated=ending.tokens is None,
            model=self.progress.served_model,
            service_tier=self.progress.service_tier,
            provider_request_id=self.progress.provider_request_id,
        )

    def _ended_well(self) -> Ending:
        return Ending(outcome=Outcome.OK, status=200, tokens=self.progress.usage)

    async def _final(self, ending: Ending) -> Usage:
        """The price of an answer that ended in order or was cut off, once it is committed."""
        settlement = await self._settle(ending)
        cost = settlement.cost_usd if settlement is not None else None
        return Usage(
            tokens=settlement.tokens if settlement is not None else self._tokens(ending),
            is_final=True,
            service_tier=self.progress.service_tier,
            is_estimated=ending.tokens is None,
            cost_usd=None if cost is None else money.text(cost),
            usage_event_id=settlement.event_id if settlement is not None else None,
        )

    def _failure(self, error: PlatformError) -> Ending:
        """How the call ended; a vendor that refused it or was never reached charges nothing."""
        provider = self.route.provider_type.value
        metrics.provider_errors_total.labels(provider=provider, code=error.code).inc()
        was_refused = isinstance(error, VendorError | NotReachable | TlsFailed)
        is_free = was_refused and not self._is_answered
        is_timeout = isinstance(error, AnswerTimeout)
        status = error.vendor_status if isinstance(error, VendorError) else 0
        return Ending(
            outcome=Outcome.TIMEOUT if is_timeout else Outcome.PROVIDER_ERROR,
            status=status or self._status(),
            tokens=TokenCount() if is_free else None,
            error=error,
        )

    def _status(self) -> int:
        return 200 if self._is_answered else 0

    async def _leave(self, ending: Ending) -> None:
        """Free the place, and settle unless that has begun."""
        places.release(self.route.provider_id)
        if self._settlement is None:
            await self._settle(self._ended_well() if self._is_whole else ending)

    async def _settle(self, ending: Ending) -> Settlement | None:
        self._settlement = settling.begin(self._record(ending), self._verdicts(ending))
        return await settling.price(self._settlement)

    def _verdicts(self, ending: Ending) -> list[health.Verdict]:
        if ending.outcome is Outcome.OK:
            latency_ms = self.progress.first_token_ms
            return health.succeeded(self.route, latency_ms=latency_ms, at=self._dispatched_at)
        if ending.error is not None:
            return health.failed(self.route, ending.error, at=self._dispatched_at)
        return []

    def _tokens(self, ending: Ending) -> TokenCount:
        if ending.tokens is not None:
            return ending.tokens
        return estimation.estimate(
            input_bytes=self.progress.input_bytes,
            output_bytes=self.progress.output_bytes,
            ratio=self.route.ratio,
            reported=self.progress.usage,
        )

    def _record(self, ending: Ending) -> ProviderCallRecord:
        progress, context = self.progress, self.call.context
        is_exact = ending.tokens is not None
        if is_exact and ending.outcome is Outcome.OK:
            estimation.learn(
                (self.route.provider_type.value, self.route.model),
                input_bytes=progress.input_bytes,
                output_bytes=progress.output_bytes,
                tokens=self._tokens(ending),
            )
        duration = timedelta(seconds=time.monotonic() - self._started)
        is_embedding = isinstance(self.call, EmbedCall)
        return ProviderCallRecord(
            request_id=progress.request_id,
            attempt=progress.attempt,
            organization_id=context.organization_id,
            workspace_id=context.workspace_id,
            user_id=context.user_id,
            api_key_id=context.api_key_id,
            agent_id=context.agent_id,
            conversation_id=context.conversation_id,
            run_id=context.run_id,
            provider_id=self.route.provider_id,
            provider_type=self.route.provider_type.value,
            billing_mode=self.route.billing_mode,
            operation=Operation.EMBED if is_embedding else Operation.CHAT,
            requested_model=self.route.model,
            served_model=progress.served_model,
            tokens=self._tokens(ending),
            status=ending.status,
            accuracy=Accuracy.EXACT if is_exact else Accuracy.ESTIMATED,
            outcome=ending.outcome,
            occurred_at=self._dispatched_at,
            completed_at=self._dispatched_at + duration,
            service_tier=progress.service_tier,
            provider_request_id=progress.provider_request_id,
            first_token_ms=progress.first_token_ms,
            duration_ms=round(duration.total_seconds() * 1_000),
            is_streamed=not is_embedding,
        )
