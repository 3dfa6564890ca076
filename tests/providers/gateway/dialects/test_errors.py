"""What clients are told of failures: the gateway's table, in the vendors' envelopes."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

from billing import errors as billing
from ideplatform.kit import errors as kit
from ideplatform.kit.errors import PlatformError, Pointer
from providers import errors as vendor
from providers.gateway.dialects import chat, errors, messages
from providers.types import DialectName

CHAT, MESSAGES = DialectName.CHAT, DialectName.MESSAGES
INVALID = "invalid_request_error"
TABLE = [
    (kit.InvalidInput, 400, INVALID, "invalid_input", 400, INVALID),
    (kit.MalformedRequest, 400, INVALID, "malformed_request", 400, INVALID),
    (billing.ModelUnpriced, 409, INVALID, "model_unpriced", 409, INVALID),
    (vendor.CallRepeated, 409, INVALID, "call_repeated", 409, INVALID),
    (
        kit.Unauthenticated,
        401,
        "authentication_error",
        "unauthenticated",
        401,
        "authentication_error",
    ),
    (kit.Forbidden, 403, "permission_error", "forbidden", 403, "permission_error"),
    (vendor.ModelNotFound, 404, INVALID, "model_not_found", 404, "not_found_error"),
    (kit.TooLarge, 413, INVALID, "context_length_exceeded", 413, "request_too_large"),
    (vendor.ContextExceeded, 413, INVALID, "context_length_exceeded", 413, "request_too_large"),
    (kit.RequestTimeout, 408, INVALID, "request_timeout", 408, "timeout_error"),
    (kit.UnsupportedMedia, 415, INVALID, "unsupported_media_type", 415, INVALID),
    *(
        (kind, 402, "insufficient_quota", kind.code, 402, "billing_error")
        for kind in (
            kit.PaymentRequired,
            billing.InsufficientCredits,
            billing.BudgetExceeded,
            billing.ExceedsLimit,
            billing.InFlightExhausted,
            billing.CustomerParked,
            billing.CustomerClosed,
        )
    ),
    (kit.TooManyRequests, 429, "rate_limit_error", "too_many_requests", 429, "rate_limit_error"),
    (vendor.BadKey, 502, "server_error", "provider_bad_key", 502, "api_error"),
    (vendor.AccessDenied, 502, "server_error", "provider_access_denied", 502, "api_error"),
    (vendor.NoCredit, 502, "server_error", "provider_no_credit", 502, "api_error"),
    (vendor.CallRefused, 502, "server_error", "provider_call_refused", 502, "api_error"),
    (vendor.VendorBroken, 502, "server_error", "provider_failed", 502, "api_error"),
    (vendor.RateLimited, 503, "server_error", "provider_rate_limited", 529, "overloaded_error"),
    (vendor.Overloaded, 503, "server_error", "provider_busy", 529, "overloaded_error"),
    (kit.ProviderTimeout, 504, "server_error", "provider_timeout", 504, "api_error"),
    (vendor.NoReadyTarget, 503, "server_error", "no_ready_target", 503, "api_error"),
    (kit.DatabaseDown, 503, "server_error", "database_down", 503, "api_error"),
    (kit.StorageFull, 507, "server_error", "storage_full", 507, "api_error"),
    (PlatformError, 500, "server_error", "platform_error", 500, "api_error"),
]


@pytest.mark.parametrize(
    ("kind", "openai_status", "openai_type", "code", "anthropic_status", "anthropic_type"), TABLE
)
def test_the_table(kind, openai_status, openai_type, code, anthropic_status, anthropic_type):
    error = kind()
    told = json.loads(chat.problem(error, request_id="r-1"))["error"]
    assert (errors.status(error, CHAT), told["type"], told["code"]) == (
        openai_status,
        openai_type,
        code,
    )
    assert errors.status(error, DialectName.RESPONSES) == openai_status
    whole = json.loads(messages.problem(error, request_id="r-1"))
    assert (errors.status(error, MESSAGES), whole["error"]["type"]) == (
        anthropic_status,
        anthropic_type,
    )
    assert (whole["type"], whole["request_id"]) == ("error", "r-1")
    assert told["request_id"] == "r-1"
    assert told["message"] == whole["error"]["message"] != ""


def test_every_error_of_the_platform_has_a_verdict_with_a_status_of_its_kind():
    for kind in kit.registered():
        found = errors.verdict(kind.__new__(kind))
        assert 400 <= found.status < 600
        assert found.openai_type
        assert found.anthropic_type


def test_only_what_may_pass_later_is_left_to_be_tried_again():
    finals = [vendor.BadKey(), billing.InsufficientCredits(), kit.Conflict(), KeyError("secret")]
    assert [errors.headers(error) for error in finals] == [{"x-should-retry": "false"}] * 4
    assert errors.headers(kit.TooManyRequests(retry_after_s=7)) == {"retry-after": "7"}
    assert errors.headers(vendor.Overloaded()) == {}


def test_an_unexpected_failure_tells_its_request_and_nothing_else():
    body = chat.problem(KeyError("sk-secret"), request_id="r-9")
    told = json.loads(body)["error"]
    assert (errors.status(KeyError("x"), CHAT), told["code"]) == (500, "internal")
    assert told["request_id"] == "r-9"
    other = messages.problem(KeyError("sk-secret"), request_id="r-9")
    assert json.loads(other)["error"]["type"] == "api_error"
    assert b"sk-secret" not in body + other


def test_a_fault_of_the_input_is_told_with_its_place():
    faults = [
        Pointer(pointer="/messages/0/content", detail="Expected `str`, got `int`"),
        Pointer(pointer="/a~1b", detail="odd"),
    ]
    error = kit.InvalidInput(errors=faults)
    told = json.loads(chat.problem(error, request_id="r"))["error"]
    assert told["param"] == "messages[0].content"
    assert told["message"] == "/messages/0/content: Expected `str`, got `int`; /a~1b: odd"
    assert [fault["pointer"] for fault in told["errors"]] == ["/messages/0/content", "/a~1b"]
    assert json.loads(chat.problem(kit.InvalidInput("bad"), request_id="r"))["error"] == {
        "message": "bad",
        "type": INVALID,
        "code": "invalid_input",
        "param": None,
        "request_id": "r",
        "errors": [{"pointer": "", "detail": "bad"}],
    }


def test_members_of_an_error_travel_but_never_replace_the_envelopes_own():
    error = vendor.NoReadyTarget(targets=[{"model": "a/b", "reason": "no key"}], message="mine")
    for body in (chat.problem(error, request_id="r"), messages.problem(error, request_id="r")):
        told = json.loads(body)["error"]
        assert told["targets"] == [{"model": "a/b", "reason": "no key"}]
        assert told["message"] == "No target of this model is ready"


def test_too_long_a_prompt_is_said_in_the_words_that_clients_look_for():
    told = json.loads(messages.problem(vendor.ContextExceeded(), request_id="r"))["error"]
    assert "prompt is too long" in told["message"]
    assert "maximum context length" in told["message"]


@pytest.mark.parametrize(
    ("error", "openai_kind", "anthropic_kind"),
    [
        (kit.InvalidInput("x"), openai.BadRequestError, anthropic.BadRequestError),
        (kit.Unauthenticated(), openai.AuthenticationError, anthropic.AuthenticationError),
        (vendor.ModelNotFound(), openai.NotFoundError, anthropic.NotFoundError),
        (kit.TooManyRequests(), openai.RateLimitError, anthropic.RateLimitError),
        (vendor.Overloaded(), openai.InternalServerError, anthropic.OverloadedError),
    ],
)
def test_the_sdks_raise_what_they_raise_for_their_vendors(
    error, openai_kind, anthropic_kind, readers
):
    body = chat.problem(error, request_id="r")
    raised = readers.refused(errors.status(error, CHAT), body, CHAT)
    assert type(raised) is openai_kind
    assert raised.code == error.code
    body = messages.problem(error, request_id="r")
    raised = readers.refused(errors.status(error, MESSAGES), body, MESSAGES)
    assert type(raised) is anthropic_kind
    assert raised.body["request_id"] == "r"
