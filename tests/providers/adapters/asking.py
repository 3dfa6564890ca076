"""Calls through one adapter to the simulated vendor, without database or money."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.conf import settings

from billing.types import BillingMode
from ideplatform.kit import egress, ids
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import Timeouts
from providers import adapters
from providers.adapters import Route
from providers.config import Config
from providers.types import (
    Call,
    CallContext,
    DialectName,
    Message,
    Passed,
    ProviderType,
    Source,
    TextPart,
)
from tests.providers.builders import KEY, Told, base_url, told

CHAT, RESPONSES, MESSAGES = DialectName.CHAT, DialectName.RESPONSES, DialectName.MESSAGES
# What a vendor is called in these tests, its type, and the dialect it speaks.
VENDORS: Final = {
    "chat": ("openai", "chat"),
    "compatible": ("openai_compatible", "chat"),
    "responses": ("openai", "responses"),
    "anthropic": ("anthropic", "chat"),
    "google": ("google", "chat"),
}
PATIENT: Final = Timeouts(connect_s=5, first_byte_s=20, idle_s=20, total_s=30)


def a_route(vendor: str, *, model: str = "sim-echo", **values: Any) -> Route:
    """A route to the simulator; `values` are the configuration's."""
    kind, api = VENDORS[vendor]
    capabilities = values.pop("capabilities", None)
    return Route(
        provider_id=ids.new(),
        provider_type=ProviderType(kind),
        slug="vendor",
        billing_mode=BillingMode.FREE,
        secret_id=None,
        model=model,
        config=msgspec.convert({"api": api, **values}, Config),
        base_url=base_url(kind),
        capabilities=capabilities,
    )


def a_call(*messages: Message, prompt: str = "hello there", **values: Any) -> Call:
    """A call of nobody; `prompt` unless messages are given."""
    nobody = CallContext(user_id=ids.new(), organization_id=ids.new())
    asked = messages or (said("user", prompt),)
    call: dict[str, Any] = {"request_id": ids.new(), "context": nobody, "model": "any"}
    return Call(messages=asked, **call | values)


def said(role: Any, *parts: Any) -> Message:
    """A message; strings become text parts."""
    told_parts = (TextPart(text=one) if isinstance(one, str) else one for one in parts)
    return Message(role=role, parts=tuple(told_parts))


async def answer(vendor: str, call: Call, **route: Any) -> Told:
    """What the adapter tells of the vendor's answer."""
    way = a_route(vendor, **route)
    adapter = adapters.of(way.provider_type)
    try:
        return await told(adapter.stream(call, way, Secret(KEY), PATIENT))
    finally:
        await egress.aclose_all()


def passed(result: Told) -> bytes:
    """All bytes that were passed on."""
    return b"".join(chunk.data for chunk in result.of(Passed))


def as_sent(dialect: DialectName, body: dict[str, Any] | bytes, **values: Any) -> Source:
    """A client's request."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Source(dialect=dialect, body=raw, **values)


def vendor_url() -> str:
    return str(settings.ENV.simulated_provider_url)
