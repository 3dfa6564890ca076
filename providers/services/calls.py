"""Dispatched calls: their money reserved before the first byte leaves, settled exactly once.

A call is a hold of billing: committed as dispatched, renewed while it runs, ended by its usage
event. What its runner leaves behind, `billing.services.holds.sweep` settles, estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from django.conf import settings

from billing.errors import RequestReused
from billing.services import batching, holds
from billing.services.batching import Asked
from billing.services.prices import Tariff
from billing.types import (
    Accuracy,
    Held,
    Journal,
    Operation,
    ProviderCallRecord,
    Reservation,
    Settlement,
    TokenCount,
)
from ideplatform.kit import ids, money
from ideplatform.kit.errors import PaymentRequired
from providers.adapters import Route
from providers.errors import CallRepeated
from providers.services import quoting
from providers.services.quoting import Meter
from providers.types import Answered, Call, EmbedCall, Usage

RENEW_S: Final = 10


@dataclass(slots=True, kw_only=True)
class Progress:
    """What is known of a running call; its runner changes it, the renewal writes it down."""

    request_id: UUID
    attempt: int
    input_bytes: int
    hold_id: UUID = field(default_factory=ids.new)
    output_bytes: int = 0
    usage: TokenCount | None = None
    service_tier: str = "standard"
    served_model: str = ""
    provider_request_id: str = ""
    first_token_ms: int | None = None


class Opening:
    """A call that asks for its money: quoted on its turn, by the prices of that moment.

    `call` is the one that may leave: with a maximum of ours where the money is short.
    """

    def __init__(
        self,
        *,
        call: Call | EmbedCall,
        route: Route,
        requested_model: str,
        progress: Progress,
        timeout_s: float = 0,
    ) -> None:
        self.call = call
        self._route = route
        self._requested_model = requested_model
        self._progress = progress
        self._lease_s = lease_s(timeout_s)
        self.meter: Meter

    async def commit(self) -> datetime:
        """Reserve the call's money and commit that it is about to leave; the moment of dispatch.

        The lease outlives half as much again as the longest silence of the vendor. Raises
        CallRepeated (409) when this request id and attempt left before, PaymentRequired (402).
        """
        hold_id = self._progress.hold_id
        held = await self._reserved()
        # A batch that lost its connection and was done again finds what it had reserved itself.
        is_ours = not held.is_replay or held.hold_id == hold_id
        if not is_ours or held.dispatched_at is None:
            raise CallRepeated
        return held.dispatched_at

    async def _reserved(self) -> Held:
        """The money, for less output where it does not cover the usual slice.

        A client who named no maximum gets the largest halved slice that the money covers, and the
        vendor is told it; one who did, an agent included, is refused.
        """
        whole = self.call
        sizes = quoting.smaller_slices(whole, self._route)
        while True:
            try:
                return await batching.reserve(self._asked())
            except PaymentRequired as refusal:
                size = next(sizes, None) if quoting.may_shrink(refusal) else None
                if size is None or isinstance(whole, EmbedCall):
                    raise
                self.call = msgspec.structs.replace(whole, max_output_tokens=size)

    def _asked(self) -> Asked:
        payer = self.call.context.organization_id
        return Asked(hold_id=self._progress.hold_id, organization_id=payer, quote=self._quoted)

    def _quoted(self, tariff: Tariff) -> Reservation:
        call, route, size = self.call, self._route, self._progress.input_bytes
        self.meter = quoting.meter(call, route, input_bytes=size, tariff=tariff)
        context = call.context
        return Reservation(
            hold_id=self._progress.hold_id,
            request_id=call.request_id,
            attempt=call.attempt,
            organization_id=context.organization_id,
            workspace_id=context.workspace_id,
            user_id=context.user_id,
            api_key_id=context.api_key_id,
            agent_id=context.agent_id,
            conversation_id=context.conversation_id,
            run_id=context.run_id,
            provider_id=route.provider_id,
            provider_type=route.provider_type.value,
            billing_mode=route.billing_mode,
            operation=Operation.EMBED if isinstance(call, EmbedCall) else Operation.CHAT,
            model=route.model,
            requested_model=self._requested_model,
            quote=self.meter.quote,
            price_version_id=self.meter.price_version_id,
            input_bytes=size,
            input_ratio=quoting.exact(route.ratio.input),
            output_ratio=quoting.exact(route.ratio.output),
            lease_s=self._lease_s,
        )


def lease_s(timeout_s: float = 0) -> int:
    """How long a call counts as running that nobody renews, in seconds."""
    return max(settings.ENV.billing_min_lease_s, math.ceil(1.5 * timeout_s))


def renew(running: Sequence[Progress]) -> None:
    """Extend the leases of running calls and write down how far they are, in one statement."""
    journals = [
        Journal(
            request_id=one.request_id,
            attempt=one.attempt,
            output_bytes=one.output_bytes,
            usage=one.usage,
            service_tier=one.service_tier,
            served_model=one.served_model,
            provider_request_id=one.provider_request_id,
            first_token_ms=one.first_token_ms,
        )
        for one in running
    ]
    holds.renew(journals, lease_s=lease_s())


def finish(*, request_id: UUID, answered: Answered) -> Usage:
    """Settle a call whose runner noted that it was answered whole, and died; what it used.

    Nothing is charged twice: a settled call is answered as it stands.
    """
    settlement = holds.finish(
        request_id=request_id,
        attempt=answered.attempt,
        tokens=answered.tokens,
        accuracy=Accuracy.ESTIMATED if answered.is_estimated else Accuracy.EXACT,
        served_model=answered.model,
        service_tier=answered.service_tier,
        provider_request_id=answered.provider_request_id,
    )
    cost = settlement.cost_usd
    return Usage(
        tokens=settlement.tokens,
        is_final=True,
        service_tier=answered.service_tier,
        is_estimated=settlement.accuracy is Accuracy.ESTIMATED,
        cost_usd=None if cost is None else money.text(cost),
        usage_event_id=settlement.event_id,
    )


async def settle(record: ProviderCallRecord) -> Settlement | None:
    """Write the usage event and end the hold; None when the sweep was there before."""
    try:
        return await batching.settle(record)
    except RequestReused:
        return None
