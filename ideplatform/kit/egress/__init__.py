"""The only outbound HTTP of the platform.

`async with egress.request("POST", url, json=..., timeouts=...) as response: ...`
"""

from ideplatform.kit.egress.client import (
    DEFAULT_TIMEOUTS,
    Call,
    Fetched,
    Response,
    Timeouts,
    aclose_all,
    fetch,
    request,
)
from ideplatform.kit.egress.errors import (
    AnswerBroken,
    AnswerTimeout,
    AnswerTooLarge,
    NotReachable,
    TlsFailed,
)
from ideplatform.kit.egress.policy import Policy, opened
from ideplatform.kit.egress.sse import SseEvent, SseParser, iter_lines, iter_sse
from ideplatform.kit.egress.urls import UrlRefused, parse

__all__ = [
    "DEFAULT_TIMEOUTS",
    "AnswerBroken",
    "AnswerTimeout",
    "AnswerTooLarge",
    "Call",
    "Fetched",
    "NotReachable",
    "Policy",
    "Response",
    "SseEvent",
    "SseParser",
    "Timeouts",
    "TlsFailed",
    "UrlRefused",
    "aclose_all",
    "fetch",
    "iter_lines",
    "iter_sse",
    "opened",
    "parse",
    "request",
]
