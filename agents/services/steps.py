"""Steps: `running` commits before the effect, the output with the end; the fence guards both."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.db.models import F, Sum

from agents.errors import RunLimitReached, StaleLease
from agents.models import RunStep
from agents.types import Reply, Run, StepKind, StepRecord, StepState, ToolOutcome
from billing.models import UsageEvent
from ideplatform.kit import clock, ids

_SPEND = """
UPDATE runs SET spent = spent || jsonb_build_object(
    'steps', (spent->>'steps')::int + 1, %(counter)s::text, (spent->>%(counter)s)::int + 1)
WHERE id = %(root)s AND (spent->>'steps')::int < (limits->>'steps')::int
    AND (spent->>%(counter)s)::int < (limits->>%(counter)s)::int
    AND (spent->>'tokens')::bigint < (limits->>'tokens')::bigint
    AND (spent->>'cost_usd')::numeric < (limits->>'cost_usd')::numeric
RETURNING id
"""
_CHARGE = """
UPDATE runs SET spent = spent || jsonb_build_object(
    'tokens', (spent->>'tokens')::bigint + %(tokens)s,
    'cost_usd', ((spent->>'cost_usd')::numeric + %(cost)s)::text)
WHERE id = %(root)s RETURNING (spent->>'tokens')::bigint, spent->>'cost_usd'
"""
_OWNED = "SELECT 1 FROM runs WHERE id = %s AND fence = %s AND state = 'running' FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What the root run has spent so far."""

    tokens: int
    cost_usd: Decimal


def found(run_id: UUID) -> list[StepRecord]:
    """The steps of a run as its former owner left them, the newest attempt of each node."""
    rows = RunStep.objects.filter(run_id=run_id).order_by("node_path", "-attempt")
    return [_record(row) for row in rows.distinct("node_path")]


def id_of(run_id: UUID, node_path: str, attempt: int) -> UUID:
    """The id of a step: the same for whoever begins this attempt."""
    return ids.derived(run_id, "step", node_path, attempt)


def call_id(run_id: UUID, node_path: str, attempt: int, number: int = 1) -> UUID:
    """The request id of a paid call: the same call of the same attempt is never charged twice."""
    return ids.derived(run_id, node_path, attempt, number)


def charged(run_id: UUID) -> Total:
    """What the calls of a run have cost by the usage events, cut and superseded ones included."""
    calls = RunStep.objects.filter(run_id=run_id, kind=StepKind.MODEL)
    request_ids = [
        call_id(run_id, node_path, attempt)
        for node_path, attempt in calls.values_list("node_path", "attempt")
    ]
    sums = UsageEvent.objects.filter(request_id__in=request_ids).aggregate(
        tokens=Sum(F("tokens_input") + F("tokens_output")), cost=Sum("estimated_cost")
    )
    return Total(tokens=sums["tokens"] or 0, cost_usd=sums["cost"] or Decimal(0))


@transaction.atomic
def begin(*, run: Run, fence: int, node_path: str, kind: StepKind, attempt: int) -> UUID:
    """Commit that a step runs, and count it against the limits of the root run.

    Repeating it after a lost answer changes nothing. Raises StaleLease, and RunLimitReached when
    a limit has no room for it.
    """
    _require_owned(run.id, fence)
    step_id = id_of(run.id, node_path, attempt)
    if RunStep.objects.filter(pk=step_id).exists():
        return step_id
    counter = "model_calls" if kind == StepKind.MODEL else "tool_calls"
    with connection.cursor() as cursor:
        cursor.execute(_SPEND, {"root": run.root_id, "counter": counter})
        if cursor.fetchone() is None:
            raise RunLimitReached
    RunStep.objects.create(
        id=step_id,
        run_id=run.id,
        node_path=node_path,
        kind=kind,
        attempt=attempt,
        state=StepState.RUNNING,
    )
    return step_id


@transaction.atomic
def end_model(*, run: Run, fence: int, step_id: UUID, state: StepState, reply: Reply) -> Total:
    """Store what a model answered and charge it to the limits, once. Raises StaleLease."""
    usage = {
        "tokens_input": reply.tokens_input,
        "tokens_output": reply.tokens_output,
        "cost_usd": reply.cost_usd,
        "is_estimated": reply.is_estimated,
    }
    has_ended = _end(run, fence, step_id, state, output=msgspec.to_builtins(reply), usage=usage)
    charge: dict[str, UUID | int | Decimal] = {
        "root": run.root_id,
        "tokens": reply.tokens if has_ended else 0,
        "cost": Decimal(reply.cost_usd or 0) if has_ended else Decimal(0),
    }
    with connection.cursor() as cursor:
        cursor.execute(_CHARGE, charge)
        tokens, cost_usd = cursor.fetchone()
    return Total(tokens=tokens, cost_usd=Decimal(cost_usd))


@transaction.atomic
def end_tool(
    *, run: Run, fence: int, step_id: UUID, state: StepState, outcome: ToolOutcome
) -> None:
    """Store what a tool gave back. Raises StaleLease."""
    _end(run, fence, step_id, state, output=msgspec.to_builtins(outcome), usage=None)


@transaction.atomic
def interrupt(*, run: Run, fence: int, step_id: UUID, reply: Reply | None) -> None:
    """Close a model step whose stream was cut, with the text that arrived. Raises StaleLease."""
    output = None if reply is None else msgspec.to_builtins(reply)
    _end(run, fence, step_id, StepState.INTERRUPTED, output=output, usage=None)


def _end(
    run: Run, fence: int, step_id: UUID, state: StepState, *, output: object, usage: object
) -> bool:
    """Whether the step was running until now."""
    _require_owned(run.id, fence)
    running = RunStep.objects.filter(pk=step_id, state=StepState.RUNNING)
    if not running.update(state=state, output=output, usage=usage, ended_at=clock.now()):
        return False
    if state == StepState.OK:
        # Progress: the next loss of an owner counts from one again.
        with connection.cursor() as cursor:
            cursor.execute("UPDATE runs SET attempt = 1 WHERE id = %s AND attempt > 1", [run.id])
    return True


def _require_owned(run_id: UUID, fence: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_OWNED, [run_id, fence])
        if cursor.fetchone() is None:
            raise StaleLease


def _record(row: RunStep) -> StepRecord:
    kind = StepKind(row.kind)
    is_model = kind == StepKind.MODEL
    return StepRecord(
        id=row.pk,
        node_path=row.node_path,
        kind=kind,
        attempt=row.attempt,
        state=StepState(row.state),
        reply=msgspec.convert(row.output, Reply) if is_model and row.output else None,
        outcome=msgspec.convert(row.output, ToolOutcome) if not is_model and row.output else None,
    )
