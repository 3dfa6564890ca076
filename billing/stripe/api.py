"""Everything said to Stripe and the only module that knows its SDK: our values in and out.

Every function raises StripeNotConfigured, StripeUnavailable (no usable answer: what was asked may
have happened), StripeRejected (refused for good) or PaymentDeclined.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import stripe
import structlog
from django.conf import settings
from pydantic import SecretStr

from billing.errors import (
    PaymentDeclined,
    StripeNotConfigured,
    StripeRejected,
    StripeUnavailable,
    WebhookRefused,
)
from billing.stripe import objects
from billing.stripe.objects import Dispute, Event, Made, Payer, Payment, Refund, Session
from billing.types import MessageKind
from ideplatform.kit import clock, egress
from ideplatform.kit.errors import Upstream

log = structlog.get_logger(__name__)

T = TypeVar("T")
Payload = Mapping[str, Any]
"""Parameters of a request in Stripe's own form, as an outbox row stores them."""
SKEW_S: Final = 300
_PAGE: Final = 100
_RETRY_S: Final = 30
_MAX_BYTES: Final = 16 * 1024 * 1024
_TIMEOUTS: Final = egress.Timeouts(connect_s=5, first_byte_s=20, idle_s=20, total_s=30)
# They describe this machine and its earlier calls, which is nobody's business.
_NOT_SENT: Final = frozenset({"x-stripe-client-user-agent", "x-stripe-client-telemetry"})


class _EgressClient(stripe.HTTPClient):
    """The SDK's HTTP, through the platform's one way out."""

    name = "egress"

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        *,
        _usage: list[str] | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        sent = {k: v for k, v in (headers or {}).items() if k.lower() not in _NOT_SENT}
        try:
            answer = egress.fetch(
                method.upper(),
                url,
                headers=sent,
                body=post_data.encode() if post_data else None,
                timeouts=_TIMEOUTS,
                max_bytes=_MAX_BYTES,
            )
        except Upstream as failed:
            raise stripe.APIConnectionError(failed.code) from failed  # type: ignore[no-untyped-call]
        return answer.body.decode(), answer.status, answer.headers

    def close(self) -> None:
        """Nothing is kept open between calls."""


def is_configured() -> bool:
    """Whether this platform takes payments at all."""
    return bool(_secret(settings.ENV.stripe_secret_key))


def require_configured() -> None:
    """Raises StripeNotConfigured."""
    if not is_configured():
        raise StripeNotConfigured


def create(kind: MessageKind, payload: Payload, *, key: str) -> Made:
    """Make something; the same key within 24 hours makes it once."""
    options: stripe.RequestOptions = {"idempotency_key": key}
    with _speaking() as v1:
        params: Any = payload  # the outbox keeps JSON; the SDK's TypedDicts describe the same
        match kind:
            case MessageKind.CUSTOMER:
                return _read(v1.customers.create(params, options), Made)
            case MessageKind.CHECKOUT:
                return _read(v1.checkout.sessions.create(params, options), Made)
            case MessageKind.RECHARGE:
                return _read(v1.payment_intents.create(params, options), Made)
            case MessageKind.REFUND:
                return _read(v1.refunds.create(params, options), Made)


def find(kind: MessageKind, payload: Payload, *, outbox_id: str, since: datetime) -> Made | None:
    """What an earlier message made, by the outbox id that it carries, among objects since then.

    Lists are consistent at once, which Stripe's search is not. Checkout sessions are not looked
    for: one whose address nobody learnt cannot be paid.
    """
    created: Any = {"gte": int(since.timestamp()) - SKEW_S}
    with _speaking() as v1:
        found: Iterator[stripe.StripeObject] = iter(())
        match kind:
            case MessageKind.CUSTOMER:
                found = _all(v1.customers.list({"created": created, "limit": _PAGE}))
            case MessageKind.RECHARGE:
                payer = payload["customer"]
                listed = v1.payment_intents.list(
                    {"customer": payer, "created": created, "limit": _PAGE}
                )
                found = _all(listed)
            case MessageKind.REFUND:
                intent = payload["payment_intent"]
                found = _all(v1.refunds.list({"payment_intent": intent, "limit": _PAGE}))
        ours = (one for one in found if _metadata(one).get("outbox_id") == outbox_id)
        first = next(ours, None)
        return None if first is None else _read(first, Made)


def payment(payment_id: str) -> Payment:
    with _speaking() as v1:
        return _read(v1.payment_intents.retrieve(payment_id), Payment)


def refunds_of(payment_id: str) -> list[Refund]:
    with _speaking() as v1:
        listed = v1.refunds.list({"payment_intent": payment_id, "limit": _PAGE})
        return [_read(one, Refund) for one in _all(listed)]


def disputes_of(payment_id: str) -> list[Dispute]:
    with _speaking() as v1:
        listed = v1.disputes.list({"payment_intent": payment_id, "limit": _PAGE})
        return [_read(one, Dispute) for one in _all(listed)]


def session(session_id: str) -> Session:
    with _speaking() as v1:
        return _read(v1.checkout.sessions.retrieve(session_id), Session)


def payer(customer_id: str) -> Payer:
    with _speaking() as v1:
        return _read(v1.customers.retrieve(customer_id), Payer)


def portal(customer_id: str, *, return_url: str) -> str:
    """The address of a page where the customer manages cards and receipts."""
    with _speaking() as v1:
        made = v1.billing_portal.sessions.create(
            {"customer": customer_id, "return_url": return_url}
        )
        return str(made.url)


def events(types: list[str], *, since: datetime) -> Iterator[list[tuple[Event, dict[str, Any]]]]:
    """Pages of events of some types, newest first, each with its whole body."""
    after: dict[str, Any] = {}
    while True:
        with _speaking() as v1:
            created: Any = {"gte": int(since.timestamp())}
            page = v1.events.list({"types": types, "created": created, "limit": _PAGE} | after)
            bodies = [one.to_dict(for_json=True) for one in page.data]
            read = [(objects.read(body, Event), body) for body in bodies]
        if read:
            yield read
        if not page.has_more or not read:
            return
        after = {"starting_after": read[-1][0].id}


def signed_event(raw: bytes, signature: str) -> tuple[Event, dict[str, Any]]:
    """The event of a webhook; raises WebhookRefused unless Stripe signed it in these minutes.

    The SDK refuses what is too old; a signature from the future would live longer than meant.
    """
    if not signature.isascii():
        raise WebhookRefused
    for secret in _webhook_secrets():
        try:
            stripe.Webhook.construct_event(raw, signature, secret, tolerance=SKEW_S)
        except stripe.SignatureVerificationError:
            continue
        except ValueError:
            raise WebhookRefused from None
        _require_fresh(signature)
        body = json.loads(raw)
        return objects.read(body, Event), body
    raise WebhookRefused


def _require_fresh(signature: str) -> None:
    """The moment that the SDK verified: the first `t`."""
    parts = [part.split("=", 2) for part in signature.split(",")]
    signed_at = next(int(part[1]) for part in parts if part[0] == "t")
    if abs(clock.now().timestamp() - signed_at) > SKEW_S:
        raise WebhookRefused


def _webhook_secrets() -> list[str]:
    require_configured()
    listed = _secret(settings.ENV.stripe_webhook_secrets).split(",")
    return [one.strip() for one in listed if one.strip()]


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


@functools.lru_cache(maxsize=1)
def _client(key: str, base: str) -> stripe.StripeClient:
    # The outbox repeats what fails; a second layer of retries would only hide how often.
    return stripe.StripeClient(
        key, base_addresses={"api": base}, http_client=_EgressClient(), max_network_retries=0
    )


@contextmanager
def _speaking() -> Iterator[Any]:
    """Stripe's v1 services; their failures become ours."""
    require_configured()
    env = settings.ENV
    client = _client(_secret(env.stripe_secret_key), env.stripe_api_base)
    try:
        yield client.v1
    except stripe.CardError as declined:
        log.info("stripe.declined", code=declined.code, request_id=declined.request_id)
        raise PaymentDeclined from declined
    except (stripe.InvalidRequestError, stripe.IdempotencyError) as refused:
        log.warning(
            "stripe.refused",
            code=refused.code,
            status=refused.http_status,
            request_id=refused.request_id,
        )
        raise StripeRejected from refused
    except stripe.StripeError as failed:
        # Also a key that Stripe does not accept: an operator mends that, and then it goes on.
        log.warning(
            "stripe.failed",
            kind=type(failed).__name__,
            status=failed.http_status,
            request_id=failed.request_id,
        )
        raise StripeUnavailable(retry_after_s=_RETRY_S) from failed


def _all(listed: Any) -> Iterator[stripe.StripeObject]:
    found: Iterator[stripe.StripeObject] = listed.auto_paging_iter()
    return found


def _metadata(one: stripe.StripeObject) -> dict[str, str]:
    found: dict[str, str] = one.to_dict().get("metadata") or {}
    return found


def _read(one: stripe.StripeObject, kind: type[T]) -> T:
    return objects.read(one.to_dict(), kind)
