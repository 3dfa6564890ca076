"""The live test of an account: does the vendor answer, take the key and list models.

An address that cannot be reached gets one identical answer after one identical time, whether it
was closed, blocked or unknown: the test is no port scanner. A vendor's words are never repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from accounts import selectors as people
from accounts.types import Actor
from ideplatform.kit import egress, ids, throttle
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import (
    AnswerTimeout,
    NotReachable,
    Timeouts,
    TlsFailed,
    UrlRefused,
)
from ideplatform.kit.errors import InvalidInput, PlatformError, Pointer, Upstream
from providers import config
from providers.adapters import Route
from providers.errors import (
    AccessDenied,
    BadKey,
    ModelMissing,
    NoCredit,
    Overloaded,
    ProviderNotReady,
    RateLimited,
    VendorBroken,
)
from providers.models import Provider
from providers.services import access, health, keys, models, routing
from providers.services.attempts import Attempt
from providers.services.providers import Draft, slug_of
from providers.types import (
    Call,
    CallContext,
    Message,
    ModelInfo,
    ProviderScope,
    ProviderType,
    Text,
    TextPart,
    Thinking,
)

ALIKE_S: Final = models.LIST_TIMEOUTS.connect_s + 0.5
GENERATE_TIMEOUTS: Final = Timeouts(connect_s=2, first_byte_s=20, idle_s=10, total_s=20)
_CODES: Final[Mapping[type[PlatformError], str]] = {
    BadKey: "bad_key",
    AccessDenied: "forbidden",
    NoCredit: "no_credit",
    ModelMissing: "model_missing",
    RateLimited: "rate_limited",
    Overloaded: "overloaded",
    VendorBroken: "overloaded",
    AnswerTimeout: "timeout",
    NotReachable: "not_reachable",
    UrlRefused: "not_reachable",
    TlsFailed: "tls",
}
_TITLES: Final = {
    "bad_key": "The key is not accepted",
    "forbidden": "The key may not do this",
    "no_credit": "The account has no credit left",
    "model_missing": "The model is not offered",
    "rate_limited": "The rate limit is reached",
    "overloaded": "The provider is overloaded or failing",
    "timeout": "The provider did not answer in time",
    "not_reachable": "The address cannot be reached",
    "bad_protocol": "The answer is not one of this provider type",
    "tls": "No trusted TLS connection could be made",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    code: str

    @property
    def title(self) -> str:
        return _TITLES[self.code]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a test found; `failure` is None when all went well."""

    latency_ms: int | None = None
    first_token_ms: int | None = None
    models: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    failure: Failure | None = None

    @property
    def is_ok(self) -> bool:
        return self.failure is None


def saved(*, actor: Actor, provider_id: UUID, generates: bool = False, model: str = "") -> Report:
    """Test an account with its own key; `generates` adds one metered call of one token.

    Raises NotFound, Forbidden, TooManyRequests (6 a minute for each user).
    """
    provider = access.manage(actor, provider_id)
    _count(actor)
    route = routing.route_to(provider, model)
    report = _listed(route, keys.open_for(route, purpose="provider_test"))
    if report.is_ok:
        health.key_replaced(provider.pk)
        if generates:
            return asyncio.run(_generated(_call(actor, provider, model, report), route, report))
    return report


def unsaved(
    *,
    actor: Actor,
    scope: ProviderScope,
    draft: Draft,
    organization_id: UUID | None = None,
    workspace_id: UUID | None = None,
) -> Report:
    """Test an account that is not saved; needs the right to save it.

    Raises InvalidInput, NotFound, Forbidden, TooManyRequests.
    """
    access.manage_scope(actor, scope, organization_id=organization_id, workspace_id=workspace_id)
    settings = config.parse(draft.config, provider_type=draft.type)
    _count(actor)
    route = Route(
        provider_id=ids.new(),
        provider_type=draft.type,
        slug=draft.slug or slug_of(draft.name),
        billing_mode=draft.billing_mode,
        secret_id=None,
        model="",
        config=settings,
        base_url=config.base_url(settings, provider_type=draft.type),
    )
    return _listed(route, draft.api_key)


def failure_of(error: PlatformError) -> Failure:
    """Our closed word for why a call failed."""
    return Failure(code=_CODES.get(type(error), "bad_protocol"))


def _count(actor: Actor) -> None:
    throttle.take(throttle.of_user(throttle.PROVIDER_TEST, actor.user_id))


def _listed(route: Route, key: Secret | None) -> Report:
    if key is None and route.provider_type is not ProviderType.OPENAI_COMPATIBLE:
        return Report(failure=Failure(code="bad_key"))
    started = time.monotonic()
    try:
        found = asyncio.run(models.listed(route, key))
    except ModelMissing:  # 404 for the list itself: this is no such server
        return Report(failure=Failure(code="bad_protocol"))
    except (Upstream, UrlRefused) as error:
        failure = failure_of(error)
        if failure.code == "not_reachable":
            time.sleep(max(0.0, started + ALIKE_S - time.monotonic()))
        return Report(failure=failure)
    return _described(route, found, round((time.monotonic() - started) * 1_000))


def _described(route: Route, found: list[ModelInfo], latency_ms: int) -> Report:
    names = tuple(sorted(info.id for info in found))
    known = routing.catalogued(route.provider_type, names)
    capabilities = {one for entry in known for one in entry.capabilities or ()}
    return Report(latency_ms=latency_ms, models=names, capabilities=tuple(sorted(capabilities)))


def _call(actor: Actor, provider: Provider, model: str, report: Report) -> Call:
    chosen = model or (report.models[0] if report.models else "")
    if not chosen:
        raise InvalidInput(errors=[Pointer(pointer="/model", detail="name a model to ask")])
    context = CallContext(
        user_id=actor.user_id,
        organization_id=provider.organization_id or people.personal_organization_id(actor),
        workspace_id=provider.workspace_id,
        api_key_id=actor.api_key_id,
    )
    return Call(
        request_id=ids.new(),
        context=context,
        model=chosen,
        messages=(Message(role="user", parts=(TextPart(text="Say ok."),)),),
        max_output_tokens=1,
        deadline_s=GENERATE_TIMEOUTS.total_s,
    )


async def _generated(call: Call, route: Route, report: Report) -> Report:
    """One real call, metered like every other."""
    first_token_ms: int | None = None
    started = time.monotonic()
    attempt = Attempt(call, routing.for_model(route, call.model), requested_model=call.model)
    failure: Failure | None = None
    try:
        async with aclosing(attempt.stream(GENERATE_TIMEOUTS)) as chunks:
            async for chunk in chunks:
                if first_token_ms is None and isinstance(chunk, Text | Thinking):
                    first_token_ms = round((time.monotonic() - started) * 1_000)
    except (Upstream, ProviderNotReady) as error:
        failure = failure_of(error)
    finally:
        await egress.aclose_all()
    return Report(
        latency_ms=report.latency_ms,
        first_token_ms=first_token_ms,
        models=report.models,
        capabilities=report.capabilities,
        failure=failure,
    )
