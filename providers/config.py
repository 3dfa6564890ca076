"""What a provider row's `config` may say. Pure; unknown keys are refused, secrets too."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ideplatform.kit import egress
from ideplatform.kit.errors import InvalidInput, Pointer
from providers.types import ProviderType

DEFAULT_BASE_URLS: Final[dict[str, str]] = {
    ProviderType.OPENAI: "https://api.openai.com/v1",
    ProviderType.ANTHROPIC: "https://api.anthropic.com",
    ProviderType.GOOGLE: "https://generativelanguage.googleapis.com",
}
# Credentials have one place, the vault; these headers would be a second one.
_SECRET_HEADERS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "set-cookie",
        "x-auth-token",
    }
)
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "accept", "accept-encoding", "transfer-encoding"}
    | {"connection", "upgrade", "te", "trailer", "expect", "keep-alive", "proxy-connection"}
)

Seconds = Annotated[float, Meta(gt=0, le=3_600)]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^`|~-]{1,64}\Z")]
HeaderValue = Annotated[str, Meta(pattern=r"^[\x20-\x7e]{0,500}\Z")]
Table = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9_-]{1,100}\.[A-Za-z0-9_]{1,200}\.[A-Za-z0-9_]{1,200})?\Z")
]
ModelId = Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f]{1,200}\Z")]


class TimeoutConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deadlines in seconds; what is not said is the platform's (GATEWAY_FIRST_BYTE_S, ...)."""

    connect_s: Seconds = 5
    first_byte_s: Seconds | None = None
    reasoning_first_byte_s: Seconds | None = None
    idle_s: Seconds | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`api` chooses OpenAI's dialect; `allowed_models` empty allows every model.

    `report_table` is the BigQuery table that Google exports billing data to, and `report_url` where
    BigQuery is asked, when elsewhere than at Google.
    """

    base_url: Annotated[str, Meta(max_length=2_000)] = ""
    api: Literal["chat", "responses"] = "chat"
    headers: Annotated[dict[HeaderName, HeaderValue], Meta(max_length=20)] = {}
    timeouts: TimeoutConfig = TimeoutConfig()
    max_concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 256
    allowed_models: Annotated[tuple[ModelId, ...], Meta(max_length=500)] = ()
    ignores_max_tokens: bool = False
    report_url: Annotated[str, Meta(max_length=2_000)] = ""
    report_table: Table = ""


def parse(value: object, *, provider_type: ProviderType) -> Config:
    """The typed configuration; raises InvalidInput with a pointer under `/config`."""
    try:
        config = msgspec.convert(value, Config)
    except msgspec.ValidationError as wrong:
        raise _refused(*_located(wrong)) from None
    for name in config.headers:
        if name.lower() in _SECRET_HEADERS:
            raise _refused(f"/headers/{name}", "credentials belong into api_key")
        if name.lower() in _OWN_HEADERS:
            raise _refused(f"/headers/{name}", "this header is set by the platform")
    _check_base_url(config.base_url, provider_type)
    if config.report_url:
        _check_url("/report_url", config.report_url)
    return config


def check_open(url: str, *, place: str = "/base_url") -> None:
    """Refuse a numeric address that egress would refuse at every call; names are judged then.

    Raises InvalidInput: what could never be used is not saved.
    """
    target = egress.parse(url)
    if target.literal is None:
        return
    policy = egress.policy.current()
    if not policy.allows(target.literal, host=target.host, port=target.port):
        raise _refused(place, "this address is closed to outbound calls")


def base_url(config: Config, *, provider_type: ProviderType) -> str:
    """Where the calls of such a provider go, without a trailing slash."""
    return (config.base_url or DEFAULT_BASE_URLS.get(provider_type, "")).rstrip("/")


def stored(config: Config) -> dict[str, object]:
    """The configuration as the column holds it: only what differs from the defaults."""
    values = msgspec.to_builtins(config)
    defaults = msgspec.to_builtins(Config())
    return {key: value for key, value in values.items() if value != defaults[key]}


def _check_base_url(url: str, provider_type: ProviderType) -> None:
    if not url:
        if provider_type not in DEFAULT_BASE_URLS:
            raise _refused("/base_url", "this type has no address of its own: give one")
        return
    _check_url("/base_url", url)


def _check_url(place: str, url: str) -> None:
    try:
        target = egress.parse(url)
    except egress.UrlRefused as refused:
        raise _refused(place, refused.detail) from None
    if target.url.raw_query_string:
        raise _refused(place, "an address has no query")


def _located(wrong: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec says "... - at `$.timeouts.idle_s`"; the place becomes a JSON pointer."""
    text, _, place = str(wrong).partition(" - at `")
    path = place.rstrip("`").removeprefix("$")
    return path.replace("[...]", "").replace(".", "/").replace("[", "/").replace("]", ""), text


def _refused(place: str, detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer=f"/config{place}", detail=detail)])
