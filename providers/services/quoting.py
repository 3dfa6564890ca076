"""What a call may cost before it is made, and how much it may still write while it runs.

A caller who states a maximum is quoted for all of it, and the vendor is told that maximum. Without
one the call reserves a slice of output; each time it has nearly written that, it asks for twice as
much, and where that is refused the answer is cut off. A gateway client whose money does not cover
the first slice gets a smaller one, as its maximum. Units: USD, tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final
from uuid import UUID

import structlog

from billing import markups, pricing
from billing.errors import (
    BudgetExceeded,
    ExceedsLimit,
    InFlightExhausted,
    InsufficientCredits,
    ModelUnpriced,
)
from billing.services import holds
from billing.services.prices import Tariff
from billing.types import BillingMode, Quote
from ideplatform.kit import clock, money
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown, PaymentRequired
from providers.adapters import Route
from providers.types import Call, EmbedCall

log = structlog.get_logger(__name__)

SLICE_TOKENS: Final = 4_096
SMALLEST_TOKENS: Final = 256
_OF_SIZE: Final = (InsufficientCredits, BudgetExceeded, ExceedsLimit, InFlightExhausted)
_MARGIN: Final = Decimal("1.1")  # of the model's usual ratio
_NEARLY: Final = Decimal("0.9")  # of a slice
# A vendor keeps to the maximum it was told; only what is plainly beyond it asks for more.
_BEYOND: Final = Decimal("1.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Prices of one call: its input at most and as expected, and each token it writes."""

    bound: Decimal
    expected: Decimal
    per_token: Decimal
    version_id: UUID | None


class Meter:
    """A running call's reserve of output. `extend` is awaited while the answer streams."""

    def __init__(self, call: Call | EmbedCall, route: Route, rate: Rate) -> None:
        self._rate = rate
        self._tokens_per_byte = exact(route.ratio.output)
        self._limit = _affordable(call, rate)
        told = call.max_output_tokens if isinstance(call, Call) else 0
        self._quoted = (
            told if told is not None else min(route.max_output_tokens or SLICE_TOKENS, SLICE_TOKENS)
        )
        self._patience = _NEARLY if told is None else _BEYOND
        if self._limit is not None:
            self._quoted = min(self._quoted, self._limit)
        self._run_id = call.context.run_id

    @property
    def quote(self) -> Quote:
        output = money.product(self._quoted, self._rate.per_token)
        return Quote(
            bound=money.quantise(self._rate.bound + output),
            expected=money.quantise(self._rate.expected + output),
        )

    @property
    def price_version_id(self) -> UUID | None:
        return self._rate.version_id

    def is_content(self, output_bytes: int) -> bool:
        """Whether what was written is still inside what was reserved."""
        if not self._rate.per_token:
            return True
        written = output_bytes * self._tokens_per_byte
        return written <= self._quoted * self._patience or written <= 1

    async def extend(self, hold_id: UUID, output_bytes: int) -> None:
        """Reserve twice what was written; raises PaymentRequired (402) where the answer ends."""
        written = int(output_bytes * self._tokens_per_byte) + 1
        wanted = 2 * max(written, self._quoted)
        if self._limit is not None:
            if written >= self._limit:
                raise beyond_ceiling(self._run_id)
            wanted = min(wanted, self._limit)
        amount = self._rate.bound + money.product(wanted, self._rate.per_token)
        try:
            await run_db(holds.extend, hold_id=hold_id, amount_usd=amount)
        except DatabaseDown:
            # What is written meanwhile is posted as overrun; the answer need not die for it.
            log.warning("hold.extension_postponed", hold_id=str(hold_id))
        self._quoted = wanted
        if wanted == self._limit:
            self._patience = Decimal(1)


def meter(call: Call | EmbedCall, route: Route, *, input_bytes: int, tariff: Tariff) -> Meter:
    """The meter of a call on a route; raises ModelUnpriced (409) when the platform would pay."""
    return Meter(call, route, _rate(call, route, input_bytes, tariff))


def smaller_slices(call: Call | EmbedCall, route: Route) -> Iterator[int]:
    """What a gateway call without a maximum may be cut to when the money is short, in tokens."""
    if isinstance(call, EmbedCall) or call.max_output_tokens is not None or call.source is None:
        return
    size = min(route.max_output_tokens or SLICE_TOKENS, SLICE_TOKENS) // 2
    while size >= SMALLEST_TOKENS:
        yield size
        size //= 2


def may_shrink(refusal: PaymentRequired) -> bool:
    """Whether a smaller call could still be paid, and no other model is to be used instead."""
    return isinstance(refusal, _OF_SIZE) and "degrade_to" not in refusal.extra


def beyond_ceiling(run_id: UUID | None) -> BudgetExceeded:
    return BudgetExceeded(
        "The run has spent what it may.",
        limit_source="run",
        limit_id=str(run_id),
        remedy_hint="raise_run_limit",
    )


def exact(ratio: float) -> Decimal:
    """A learned ratio as the decimal that money is counted with, six places."""
    return Decimal(str(ratio)).quantize(Decimal("0.000001"))


def _rate(call: Call | EmbedCall, route: Route, input_bytes: int, tariff: Tariff) -> Rate:
    if route.billing_mode is BillingMode.FREE:
        return Rate(bound=money.ZERO, expected=money.ZERO, per_token=money.ZERO, version_id=None)
    book = tariff.book
    model = pricing.Model(provider_type=route.provider_type, name=route.model, at=clock.now())
    expected = input_bytes * exact(route.ratio.input) * _MARGIN
    expected_tokens = int(expected.to_integral_value(ROUND_CEILING))
    try:
        bound = book.quote(model, input_tokens=input_bytes, max_output_tokens=0)
        expected_cost = book.quote(model, input_tokens=expected_tokens, max_output_tokens=0)
        terms = _terms(tariff, call, route, model)
        return Rate(
            bound=terms.apply(bound, tokens=input_bytes),
            expected=terms.apply(expected_cost, tokens=expected_tokens),
            per_token=terms.of_token(book.output_price(model, input_tokens=input_bytes)),
            version_id=book.version_id,
        )
    except ModelUnpriced:
        if route.billing_mode is BillingMode.PLATFORM:
            raise
        return Rate(
            bound=money.ZERO,
            expected=money.ZERO,
            per_token=money.ZERO,
            version_id=book.version_id,
        )


def _terms(
    tariff: Tariff, call: Call | EmbedCall, route: Route, model: pricing.Model
) -> markups.Terms:
    """The customer's markup: what is reserved is what will be billed. Own keys bear none."""
    if route.billing_mode is not BillingMode.PLATFORM:
        return markups.PLAIN
    return tariff.terms(
        customer_id=call.context.organization_id,
        provider_type=model.provider_type,
        model=model.name,
        at=model.at,
    )


def _affordable(call: Call | EmbedCall, rate: Rate) -> int | None:
    """The tokens that the call's ceiling pays for; raises BudgetExceeded when it pays for none."""
    if not isinstance(call, Call) or call.ceiling_usd is None or not rate.per_token:
        return None
    left = Decimal(call.ceiling_usd) - rate.expected
    tokens = int((left / rate.per_token).to_integral_value(ROUND_FLOOR))
    if tokens < 1:
        raise beyond_ceiling(call.context.run_id)
    return tokens
