"""Builders of provider accounts and calls: each shows only what matters to its test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from django.conf import settings

from accounts.models import Organization, User
from accounts.types import OrganizationKind
from billing.models import UsageEvent
from billing.types import BillingMode
from ideplatform.kit import ids
from ideplatform.kit.crypto import Secret
from ideplatform.kit.errors import PlatformError
from providers.models import Provider
from providers.services import providers
from providers.services.access import Home
from providers.services.providers import Draft
from providers.types import (
    Call,
    CallContext,
    Chunk,
    EmbedCall,
    Message,
    ProviderScope,
    ProviderType,
    Started,
    Stop,
    Text,
    TextPart,
    Thinking,
    Tool,
    ToolArguments,
    ToolCall,
    Usage,
)
from tests.factories import a_user

AnyChunk = TypeVar("AnyChunk", bound=Chunk)
_numbers = itertools.count(1)
KEY = "sk-simulated-key-4242"
WEATHER = Tool(
    name="get_weather",
    description="The weather of a city",
    parameters=msgspec.Raw(b'{"type":"object","properties":{"city":{"type":"string"}}}'),
)


def base_url(kind: str) -> str:
    """The simulator's address in the form that the type expects."""
    url = settings.ENV.simulated_provider_url
    return f"{url}/v1" if kind in ("openai", "openai_compatible") else str(url)


def the_platform() -> Organization:
    found, _ = Organization.objects.get_or_create(
        kind=OrganizationKind.PLATFORM, defaults={"name": "Platform", "slug": "platform"}
    )
    return found


def a_provider(
    kind: str = "openai_compatible",
    *,
    key: str | None = KEY,
    models: tuple[str, ...] = ("sim-echo", "sim-coder", "sim-embed"),
    home: Home | None = None,
    owner: User | None = None,
    config: dict[str, Any] | None = None,
    **values: Any,
) -> Provider:
    """An account of the platform at the simulator, charged to wallets."""
    the_platform()
    number = next(_numbers)
    home = home or Home(scope=ProviderScope.PLATFORM)
    is_ours = home.scope is ProviderScope.PLATFORM
    mode = BillingMode.PLATFORM if is_ours else BillingMode.BYOK
    draft = Draft(
        **{
            "name": f"Account {number}",
            "type": ProviderType(kind),
            "config": {"base_url": base_url(kind)} | (config or {}),
            "api_key": None if key is None else Secret(key),
            "billing_mode": mode,
            "models": models,
        }
        | values
    )
    return providers.add(home=home, owner_id=owner.pk if owner else None, draft=draft)


def a_context(user: User | None = None, **values: Any) -> CallContext:
    user = user or a_user()
    organization = Organization.objects.get(personal_user=user)
    return CallContext(**{"user_id": user.pk, "organization_id": organization.pk} | values)


def a_call(prompt: str = "hello there", *, model: str = "sim-echo", **values: Any) -> Call:
    context = values.pop("context", None) or a_context()
    messages = (Message(role="user", parts=(TextPart(text=prompt),)),)
    call: dict[str, Any] = {"request_id": ids.new(), "messages": messages, "deadline_s": 20.0}
    return Call(context=context, model=model, **call | values)


def an_embed_call(*inputs: str, model: str = "sim-embed", **values: Any) -> EmbedCall:
    return EmbedCall(
        request_id=ids.new(), context=a_context(), model=model, inputs=inputs, **values
    )


@dataclass
class Told:
    """What a consumer of a stream got."""

    chunks: list[Chunk] = field(default_factory=list)
    error: PlatformError | None = None

    def of(self, kind: type[AnyChunk]) -> list[AnyChunk]:
        return [chunk for chunk in self.chunks if isinstance(chunk, kind)]

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.of(Text))

    @property
    def thinking(self) -> str:
        return "".join(chunk.text for chunk in self.of(Thinking))

    @property
    def usage(self) -> Usage:
        (only,) = self.of(Usage)
        return only

    @property
    def stop(self) -> str:
        (only,) = self.of(Stop)
        assert self.chunks[-1] is only
        return str(only.reason)

    @property
    def started(self) -> Started:
        (only,) = self.of(Started)
        assert self.chunks[0] is only
        return only

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Id, name and joined arguments of each tool call, in order."""
        return [
            (
                call.id,
                call.name,
                "".join(d.delta for d in self.of(ToolArguments) if d.index == call.index),
            )
            for call in self.of(ToolCall)
        ]


async def told(stream: AsyncGenerator[Chunk, None]) -> Told:
    """Read a stream to its end, or to its error."""
    result = Told()
    try:
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                result.chunks.append(chunk)
    except PlatformError as error:
        result.error = error
    return result


def events_of(call: Call | EmbedCall) -> list[UsageEvent]:
    return list(UsageEvent.objects.filter(request_id=call.request_id).order_by("attempt"))
