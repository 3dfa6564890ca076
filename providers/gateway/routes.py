"""Every route of the gateway: what serves it, in whose dialect it fails, what it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from accounts.types import Permission
from ideplatform.kit.accounting import Declaration
from providers.gateway import calls, listing, storing
from providers.gateway.principal import Caller
from providers.gateway.request import Request
from providers.types import DialectName

MODEL_PATH: Final = "/v1/models/{model}"
Handler = Callable[[Request, Caller, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path; the `{model}` of `MODEL_PATH` may hold slashes."""

    method: str
    path: str
    dialect: DialectName
    handler: Handler
    summary: str

    @property
    def entry(self) -> str:
        """Its name in the accounting of permissions, as Django's routes are named."""
        return f"{self.method} {self.path.removeprefix('/')}"

    @property
    def declaration(self) -> Declaration:
        return Declaration(permission=Permission.PROVIDER_USE)

    def match(self, path: str) -> str | None:
        """What stands for the path's parameter, "" without one; None when it is another path."""
        head, opening, rest = self.path.partition("{")
        if not opening:
            return "" if path == self.path else None
        tail = rest.partition("}")[2]
        if not (path.startswith(head) and path.endswith(tail)):
            return None
        value = path[len(head) : len(path) - len(tail)]
        may_hold_slashes = not tail and self.path == MODEL_PATH
        return value if value and (may_hold_slashes or "/" not in value) else None


TABLE: Final = (
    Route(
        method="POST",
        path="/v1/chat/completions",
        dialect=DialectName.CHAT,
        handler=calls.complete_chat,
        summary="An answer in OpenAI's chat dialect, streamed or whole.",
    ),
    Route(
        method="POST",
        path="/v1/responses",
        dialect=DialectName.RESPONSES,
        handler=storing.create,
        summary="An answer in OpenAI's responses dialect, streamed or whole.",
    ),
    Route(
        method="GET",
        path="/v1/responses/{response_id}",
        dialect=DialectName.RESPONSES,
        handler=storing.retrieve,
        summary="A kept response; `?stream=true&starting_after=N` its events from there on.",
    ),
    Route(
        method="DELETE",
        path="/v1/responses/{response_id}",
        dialect=DialectName.RESPONSES,
        handler=storing.delete,
        summary="Forget a kept response, running or not.",
    ),
    Route(
        method="POST",
        path="/v1/responses/{response_id}/cancel",
        dialect=DialectName.RESPONSES,
        handler=storing.cancel,
        summary="End a response that is being answered.",
    ),
    Route(
        method="GET",
        path="/v1/responses/{response_id}/input_items",
        dialect=DialectName.RESPONSES,
        handler=storing.input_items,
        summary="What the model was given, a page at a time.",
    ),
    Route(
        method="POST",
        path="/v1/messages",
        dialect=DialectName.MESSAGES,
        handler=calls.create_message,
        summary="An answer in Anthropic's messages dialect, streamed or whole.",
    ),
    Route(
        method="POST",
        path="/v1/messages/count_tokens",
        dialect=DialectName.MESSAGES,
        handler=calls.count_tokens,
        summary="How many tokens a request's input is: the vendor's own count, else ours; free.",
    ),
    Route(
        method="POST",
        path="/v1/embeddings",
        dialect=DialectName.CHAT,
        handler=calls.embed,
        summary="Vectors of texts or token numbers, as numbers or base64.",
    ),
    Route(
        method="GET",
        path="/v1/models",
        dialect=DialectName.CHAT,
        handler=listing.models,
        summary="The models that a caller may name; with `anthropic-version` in Anthropic's shape.",
    ),
    Route(
        method="GET",
        path=MODEL_PATH,
        dialect=DialectName.CHAT,
        handler=listing.model,
        summary="One model; slashes of its id may be escaped or not.",
    ),
)
NOTES: Final = """\
Credentials: `Authorization: Bearer`, `x-api-key` or `api-key`, an API key with the scope
`gateway:call` or an access token; never a cookie, never the URL. A key pays from its organization,
in its workspace if it is bound to one; a person from the own organization, or from the one that
`x-mundial-workspace` or `x-mundial-organization` names (UUIDs).

| header of an answer | meaning |
|---|---|
| `x-request-id` | our id of the request, which its usage event bears |
| `x-mundial-model`, `x-mundial-provider` | who answered; absent when the answer began with a ping |
| `x-mundial-dropped` | members of the request that the provider's dialect cannot say |
| `x-mundial-max-output` | the maximum that we set, where none was named and the money is short |
| `x-should-retry: false` | this refusal stays as it is |
| `retry-after` | seconds |

`Idempotency-Key` (at most 255 characters) makes a paid request happen once, for good: a second
one of the same sender and payer is answered with 409 `request_reused` and `first_request_id`,
whatever its body, and charged nothing.

Usage is told in every answer, asked for or not, with `usage.cost` in USD as a decimal string. An
answer that its money no longer covers ends in order, as at its maximum, with
`x_mundial: {"stop": "budget"}`. A stream that says nothing for 15 seconds gets a ping, before its
first token too; from then on its faults are told inside the stream.
"""
_EXACT: Final = {(route.method, route.path): route for route in TABLE if "{" not in route.path}
_OPEN: Final = tuple(route for route in TABLE if "{" in route.path)


def find(method: str, path: str) -> tuple[Route, str] | None:
    """The route of a method and path, and what stands for its parameter."""
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact, ""
    for route in _OPEN:
        if route.method == method and (value := route.match(path)) is not None:
            return route, value
    return None


def methods(path: str) -> list[str]:
    """The methods that a path offers, none for a path that does not exist."""
    return sorted({route.method for route in TABLE if route.match(path) is not None})


def dialect_of(path: str, *, is_anthropic: bool) -> DialectName:
    """In whose words a path's failures are told, whether it exists or not."""
    if path.startswith("/v1/messages") or (is_anthropic and path.startswith("/v1/models")):
        return DialectName.MESSAGES
    return DialectName.RESPONSES if path.startswith("/v1/responses") else DialectName.CHAT
