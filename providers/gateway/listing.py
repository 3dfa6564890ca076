"""`GET /v1/models` and `/v1/models/{id}`, in OpenAI's shape or, with `anthropic-version`, theirs.

Clients that show only Anthropic's names find every other model a second time as `anthropic/<id>`;
the prefix is taken off when such a name is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

import msgspec

from ideplatform.kit import clock
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import InvalidInput
from providers.errors import ModelNotFound
from providers.gateway import replies
from providers.gateway.principal import Caller
from providers.gateway.request import Request
from providers.services import offering, routing
from providers.services.offering import Offered
from providers.types import Capability

MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 1_000
_EFFORTS: Final = ("low", "medium", "high")


def is_anthropic(request: Request) -> bool:
    """Whether the client speaks Anthropic's dialect."""
    return "anthropic-version" in request.headers


async def models(request: Request, caller: Caller, _: str) -> None:
    """Every model the caller may name."""
    found = await run_db(offering.of, caller.context)
    if is_anthropic(request):
        await replies.json(request, _page(_with_twins(found), request.query))
    else:
        body = {"object": "list", "data": [_openai(one) for one in found]}
        await replies.json(request, msgspec.json.encode(body))


async def model(request: Request, caller: Caller, name: str) -> None:
    """One of them, or any account's model as `slug/id`; raises ModelNotFound."""
    found = await run_db(offering.of, caller.context)
    full = [msgspec.structs.replace(one, name=one.full_name) for one in found if one.full_name]
    entries = _with_twins([*found, *full])
    one = next((entry for entry in entries if entry.name == name), None)
    if one is None:
        raise ModelNotFound(model=name)
    shape = _anthropic if is_anthropic(request) else _openai
    await replies.json(request, msgspec.json.encode(shape(one)))


def _with_twins(found: Sequence[Offered]) -> list[Offered]:
    names = {one.name for one in found}
    twins = [
        msgspec.structs.replace(one, name=routing.TWIN + one.name)
        for one in found
        if not any(word in one.name.lower() for word in routing.THEIRS)
    ]
    return [*found, *(twin for twin in twins if twin.name not in names)]


def _openai(one: Offered) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": one.name,
        "object": "model",
        "created": int(one.created_at.timestamp()),
        "owned_by": one.owner,
    }
    if one.context_tokens is not None:
        entry["context_length"] = one.context_tokens
    if one.max_output_tokens is not None:
        entry["max_output_tokens"] = one.max_output_tokens
    return entry


def _anthropic(one: Offered) -> dict[str, object]:
    known = one.capabilities
    thinks = known is not None and Capability.THINKING in known
    adapts = known is not None and Capability.THINKING_ADAPTIVE in known
    weighs = known is not None and Capability.EFFORT in known
    return {
        "type": "model",
        "id": one.name,
        "display_name": one.display_name or one.name,
        "created_at": clock.rfc3339(one.created_at),
        "max_input_tokens": one.context_tokens,
        "max_tokens": one.max_output_tokens,
        "capabilities": {
            "image_input": _supported(known is not None and Capability.VISION in known),
            "pdf_input": _supported(known is not None and Capability.DOCUMENTS in known),
            "structured_outputs": _supported(
                known is not None and Capability.STRUCTURED_OUTPUT in known
            ),
            "thinking": {
                "supported": thinks or adapts,
                "types": {"enabled": _supported(thinks), "adaptive": _supported(adapts)},
            },
            "effort": {"supported": weighs} | {level: _supported(weighs) for level in _EFFORTS},
        },
    }


def _supported(is_it: bool) -> dict[str, bool]:
    return {"supported": is_it}


def _page(found: Sequence[Offered], query: str) -> bytes:
    """A page by Anthropic's cursors, which are model ids; an unknown cursor is the beginning."""
    asked = parse_qs(query)
    limit = _limit(asked.get("limit", [""])[0])
    names = [one.name for one in found]
    after, before = asked.get("after_id", [""])[0], asked.get("before_id", [""])[0]
    if before in names:
        end = names.index(before)
        begin = max(0, end - limit)
        has_more = begin > 0
    else:
        begin = names.index(after) + 1 if after in names else 0
        end = begin + limit
        has_more = end < len(names)
    rows = [_anthropic(one) for one in found[begin:end]]
    body = {
        "data": rows,
        "has_more": has_more,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
    }
    return msgspec.json.encode(body)


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE):
        raise InvalidInput(f"limit is between 1 and {MAX_PAGE}")
    return int(text)
