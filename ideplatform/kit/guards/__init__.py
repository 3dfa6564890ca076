"""Guards precede every parser: JSON structure, body sizes, headers, request targets."""

from ideplatform.kit.guards.http import (
    BODY_LIMITS,
    DEFAULT_BODY_LIMIT,
    Guard,
    WsgiGuard,
    scope_is_clean,
    target_is_clean,
)
from ideplatform.kit.guards.text import (
    GATEWAY_MAX_DEPTH,
    GATEWAY_MAX_INTEGER,
    MAX_DEPTH,
    ForbiddenText,
    MalformedJson,
    TooDeep,
    check_json,
    check_text,
    decode_json,
    parse_json,
    pointer_of,
)

__all__ = [
    "BODY_LIMITS",
    "DEFAULT_BODY_LIMIT",
    "GATEWAY_MAX_DEPTH",
    "GATEWAY_MAX_INTEGER",
    "MAX_DEPTH",
    "ForbiddenText",
    "Guard",
    "MalformedJson",
    "TooDeep",
    "WsgiGuard",
    "check_json",
    "check_text",
    "decode_json",
    "parse_json",
    "pointer_of",
    "scope_is_clean",
    "target_is_clean",
]
