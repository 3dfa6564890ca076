"""Whether an account and its models are worth calling, judged from real calls.

Each process keeps its own window of samples; a verdict is a row of `provider_health`, so every
process acts on it within a second, with Redis or without. The breaker of (provider, model) opens
at half of at least five samples in a minute; one trial call at a time may try after the pause.
What a caller did wrong, or cancelled, is no sample.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from ideplatform.kit.db import database_now
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, NotReachable, TlsFailed
from ideplatform.kit.errors import PlatformError
from providers.adapters import Route
from providers.errors import (
    AccessDenied,
    BadKey,
    NoCredit,
    Overloaded,
    ProviderNotReady,
    RateLimited,
    VendorBroken,
)
from providers.models import Provider, ProviderHealth
from providers.services import changes
from providers.types import HealthState

log = structlog.get_logger(__name__)

WINDOW_S: Final = 60
MIN_SAMPLES: Final = 5
PAUSE_S: Final = 30
MAX_PAUSE_S: Final = 600
COOL_DOWN_S: Final = 5
MAX_COOL_DOWN_S: Final = 60
TRIAL_S: Final = 360  # a trial that never reports back is given up after this
NOTE_EVERY_S: Final = 60  # a healthy model's row is written at most this often
KEY: Final = ""  # the row of the account itself

_SICK = (Overloaded, VendorBroken, AnswerTimeout, NotReachable, TlsFailed, AnswerBroken)
_KEY_REFUSED = (BadKey, AccessDenied, NoCredit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A change to write: of the account (`model` empty) or of one of its models."""

    provider_id: UUID
    model: str
    state: HealthState
    error_code: str = ""
    latency_ms: int | None = None
    pause_s: float | None = None
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A row as routing reads it; `is_due` says that the pause is over."""

    state: HealthState
    until: datetime | None
    is_due: bool


class _Watch:
    """What this process saw of one (provider, model)."""

    def __init__(self) -> None:
        self.samples: deque[tuple[float, bool]] = deque(maxlen=1_000)
        self.noted_at = float("-inf")
        self.was_sick = False


class _Memory:
    """What this process saw of all; `limited` counts an account's 429s in a row."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.watches: dict[tuple[UUID, str], _Watch] = {}
        self.limited: dict[UUID, int] = {}


_memory = _Memory()


def succeeded(route: Route, *, latency_ms: int | None, at: datetime) -> list[Verdict]:
    """A call went well; what that changes, if anything."""
    with _memory.lock:
        watch = _watch(route)
        now = time.monotonic()
        watch.samples.append((now, False))
        was_limited = _memory.limited.pop(route.provider_id, 0)
        is_news = route.is_trial or watch.was_sick or now - watch.noted_at > NOTE_EVERY_S
        if is_news:
            watch.noted_at, watch.was_sick = now, False
    closed = Verdict(
        provider_id=route.provider_id,
        model=route.model,
        state=HealthState.CLOSED,
        latency_ms=latency_ms,
        seen_at=at,
    )
    account = Verdict(
        provider_id=route.provider_id, model=KEY, state=HealthState.CLOSED, seen_at=at
    )
    return [closed] * is_news + [account] * bool(was_limited)


def failed(route: Route, error: PlatformError, *, at: datetime) -> list[Verdict]:
    """A call failed; what that changes, if anything."""
    if isinstance(error, _KEY_REFUSED):
        return [_verdict(route, KEY, HealthState.KEY_INVALID, error, at)]
    if isinstance(error, RateLimited):
        pause_s = _cool_down_s(route.provider_id, error.retry_after_s)
        return [_verdict(route, KEY, HealthState.COOLING_DOWN, error, at, pause_s)]
    if isinstance(error, _SICK) and _opens(route):
        return [_verdict(route, route.model, HealthState.OPEN, error, at, PAUSE_S)]
    return []


def probed(provider: Provider, error: PlatformError | None, *, at: datetime) -> list[Verdict]:
    """A free question was answered, or not; what that says of the account and its sick models.

    An answer closes breakers that are due: the next real call is no longer alone. A failure keeps
    them open. Only a refused key is a verdict about an account that was healthy.
    """
    sick = ProviderHealth.objects.filter(
        provider=provider, state=HealthState.OPEN, until__lte=Now()
    ).exclude(model=KEY)
    state = HealthState.CLOSED if error is None else HealthState.OPEN
    verdicts = [
        Verdict(
            provider_id=provider.pk,
            model=model,
            state=state,
            error_code="" if error is None else error.code,
            pause_s=None if error is None else PAUSE_S,
            seen_at=at,
        )
        for model in sick.values_list("model", flat=True)
    ]
    if error is None or isinstance(error, _KEY_REFUSED):
        whole = HealthState.CLOSED if error is None else HealthState.KEY_INVALID
        code = "" if error is None else error.code
        verdicts.append(
            Verdict(provider_id=provider.pk, model=KEY, state=whole, error_code=code, seen_at=at)
        )
    return verdicts


def claim(route: Route) -> None:
    """Take the one trial of an open breaker; raises ProviderNotReady when another call has it."""
    taken = (
        ProviderHealth.objects.filter(provider_id=route.provider_id, model=route.model)
        .filter(Q(trial_until=None) | Q(trial_until__lt=Now()), state=HealthState.OPEN)
        .update(trial_until=Now() + timedelta(seconds=TRIAL_S))
    )
    if not taken:
        raise ProviderNotReady


def save(verdicts: Iterable[Verdict]) -> None:
    """Write the verdicts, each in its own transaction."""
    for verdict in verdicts:
        _save(verdict)


def standings(provider_ids: Iterable[UUID]) -> Mapping[tuple[UUID, str], Standing]:
    """The rows of some providers by (provider, model)."""
    now = database_now()
    rows = ProviderHealth.objects.filter(provider_id__in=list(provider_ids))
    return {
        (row.provider_id, row.model): Standing(
            state=HealthState(row.state),
            until=row.until,
            is_due=row.until is not None and row.until <= now,
        )
        for row in rows
    }


def key_replaced(provider_id: UUID) -> None:
    """The key changed or was proven to work: older verdicts about it are void."""
    ProviderHealth.objects.filter(provider_id=provider_id, model=KEY).delete()
    for provider in Provider.objects.filter(pk=provider_id):
        changes.of_home(provider)
    with _memory.lock:
        _memory.limited.pop(provider_id, None)


def forget() -> None:
    """Drop what this process saw, as a restart would."""
    with _memory.lock:
        _memory.watches.clear()
        _memory.limited.clear()


def _watch(route: Route) -> _Watch:
    return _memory.watches.setdefault((route.provider_id, route.model), _Watch())


def _opens(route: Route) -> bool:
    now = time.monotonic()
    with _memory.lock:
        watch = _watch(route)
        watch.samples.append((now, True))
        while watch.samples[0][0] < now - WINDOW_S:
            watch.samples.popleft()
        bad = sum(is_bad for _, is_bad in watch.samples)
        opens = route.is_trial or (
            len(watch.samples) >= MIN_SAMPLES and 2 * bad >= len(watch.samples)
        )
        if opens:
            watch.was_sick = True
            watch.samples.clear()
    return opens


def _cool_down_s(provider_id: UUID, retry_after_s: int | None) -> float:
    with _memory.lock:
        times = _memory.limited.get(provider_id, 0)
        _memory.limited[provider_id] = times + 1
    if retry_after_s is not None:
        return retry_after_s
    return float(min(COOL_DOWN_S << min(times, 10), MAX_COOL_DOWN_S))


def _verdict(
    route: Route,
    model: str,
    state: HealthState,
    error: PlatformError,
    at: datetime,
    pause_s: float | None = None,
) -> Verdict:
    return Verdict(
        provider_id=route.provider_id,
        model=model,
        state=state,
        error_code=error.code,
        pause_s=pause_s,
        seen_at=at,
    )


@transaction.atomic
def _save(verdict: Verdict) -> None:
    rows = Provider.objects.filter(pk=verdict.provider_id, deleted_at__isnull=True)
    if verdict.state is HealthState.KEY_INVALID:  # a verdict about a key since replaced is void
        rows = rows.filter(key_changed_at__lte=verdict.seen_at)
    provider = rows.first()
    if provider is None:
        return
    key = {"provider_id": verdict.provider_id, "model": verdict.model}
    row, _ = ProviderHealth.objects.select_for_update().get_or_create(
        **key, defaults={"state": HealthState.CLOSED}
    )
    if _is_older(row, verdict):
        return
    openings, pause_s = 0, verdict.pause_s
    if verdict.state is HealthState.OPEN:
        openings = row.openings + 1
        pause_s = min(PAUSE_S << min(row.openings, 10), MAX_PAUSE_S)
    ProviderHealth.objects.filter(**key).update(
        state=verdict.state,
        until=None if pause_s is None else Now() + timedelta(seconds=pause_s),
        trial_until=None,
        openings=openings,
        error_code=verdict.error_code[:40],
        latency_ms=F("latency_ms") if verdict.latency_ms is None else verdict.latency_ms,
        checked_at=Now(),
    )
    if row.state != verdict.state or pause_s is not None:
        changes.of_home(provider)
    if row.state != verdict.state:
        log.info(
            "provider_health.changed",
            provider_id=str(verdict.provider_id),
            model=verdict.model,
            state=verdict.state.value,
            error_code=verdict.error_code,
        )


def _is_older(row: ProviderHealth, verdict: Verdict) -> bool:
    """A call dispatched before the row's verdict says nothing new about what came after it."""
    if verdict.state is HealthState.CLOSED and row.state != HealthState.CLOSED:
        return verdict.seen_at < row.checked_at
    is_open = row.state == HealthState.OPEN and row.trial_until is None
    return verdict.state is HealthState.OPEN and is_open and verdict.seen_at < row.checked_at
