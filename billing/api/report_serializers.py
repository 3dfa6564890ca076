"""What a client may say of its own calls, and how the answer reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from rest_framework import serializers

from billing.api.serializers import event
from billing.services.client_usage import MOST, Recorded, Report
from ideplatform.kit import problems
from ideplatform.kit.errors import InvalidInput, PlatformError, Pointer
from ideplatform.kit.rest import pointers
from ideplatform.kit.serializers import StrictSerializer

MOST_TOKENS: Final = 10_000_000
MOST_RAW_BYTES: Final = 16_384


class Count(serializers.IntegerField):
    """A whole number in JSON: no text, no `true`, no 1.0."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class Words(serializers.CharField):
    """A text in JSON: no number, kept as it was sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """A text with its offset from UTC."""

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.fail("invalid", format="RFC 3339")
        return super().to_internal_value(value)


class RawUsage(serializers.JSONField):
    """The vendor's own usage object, at most 16 KiB."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("An object.")
        if len(msgspec.json.encode(data)) > MOST_RAW_BYTES:
            raise serializers.ValidationError(f"At most {MOST_RAW_BYTES} bytes.")
        return data


def _tokens(**options: Any) -> Count:
    return Count(min_value=0, max_value=MOST_TOKENS, **options)


class ReportForm(StrictSerializer):
    """One call with the customer's own vendor key. Prices and payer are not the client's to say."""

    request_id = serializers.UUIDField()
    attempt = Count(required=False, min_value=1, max_value=1_000)
    provider_id = serializers.UUIDField()
    workspace_id = serializers.UUIDField(required=False, allow_null=True)
    model = Words(max_length=200)
    tokens_input = _tokens()
    tokens_output = _tokens()
    tokens_cache_read = _tokens(required=False)
    tokens_cache_write = _tokens(required=False)
    tokens_reasoning = _tokens(required=False)
    status = Count(min_value=0, max_value=599)
    occurred_at = Moment(required=False)
    provider_request_id = Words(required=False, allow_blank=True, max_length=200)
    agent_id = Words(required=False, allow_blank=True, max_length=100)
    raw_usage = RawUsage(required=False, allow_null=True)
    hold_id = serializers.UUIDField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        told = Report(**attrs)
        faults = {}
        if told.tokens_cache_read + told.tokens_cache_write > told.tokens_input:
            faults["tokens_input"] = ["Cached and written tokens are part of it."]
        if told.tokens_reasoning > told.tokens_output:
            faults["tokens_output"] = ["Reasoning is part of it."]
        if faults:
            raise serializers.ValidationError(faults)
        return attrs


class ReportsForm(StrictSerializer):
    """One call, or `events`: at most 500 of them. Documents the body; `read` reads it."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        one = {name: _optional(field) for name, field in ReportForm().get_fields().items()}
        return one | {
            "events": serializers.ListField(child=ReportForm(), required=False, max_length=MOST)
        }


def _optional(field: serializers.Field[Any, Any, Any, Any]) -> Any:
    field.required = False
    return field


def is_batch(body: object) -> bool:
    return isinstance(body, Mapping) and "events" in body


def one(body: object) -> Report:
    """A single report; raises InvalidInput with a pointer to each fault."""
    return _report(body, at="")


def several(body: Mapping[str, object]) -> list[Report | PlatformError]:
    """The reports of a batch, each with its own faults; raises InvalidInput for the envelope."""
    events = body["events"]
    unknown = sorted(str(name) for name in body.keys() - {"events"})
    faults = [
        Pointer(pointer=f"/{name}", detail="This field is not known here.") for name in unknown
    ]
    if not isinstance(events, list) or not 1 <= len(events) <= MOST:
        faults.append(Pointer(pointer="/events", detail=f"A list of 1 to {MOST} events."))
    if faults or not isinstance(events, list):
        raise InvalidInput(errors=faults)
    return [_judged(item, number) for number, item in enumerate(events)]


def _judged(item: object, number: int) -> Report | PlatformError:
    try:
        return _report(item, at=f"/events/{number}")
    except InvalidInput as refused:
        return refused


def _report(body: object, *, at: str) -> Report:
    form = ReportForm(data=body)
    if not form.is_valid():
        raise InvalidInput(errors=tuple(pointers(form.errors, at)))
    return Report(**form.validated_data)


def recorded(answer: Recorded) -> dict[str, object]:
    return event(answer.event)


def results(answers: Sequence[Recorded | PlatformError]) -> dict[str, object]:
    """What became of each report of a batch, in its order."""
    return {"results": [_result(answer) for answer in answers]}


def _result(answer: Recorded | PlatformError) -> dict[str, object]:
    if isinstance(answer, PlatformError):
        return {"status": answer.status, "event": None, "problem": problems.of(answer)}
    status = 201 if answer.is_new else 200
    return {"status": status, "event": recorded(answer), "problem": None}
