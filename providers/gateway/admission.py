"""What a request passes before its call: the rate limit, its name once and for all, its deadline.

`Idempotency-Key` names a request of its sender for good: a second one with the same key has the
same id, and the paid door lets no id through twice, so it is answered with 409 `request_reused`
and charged nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec
from django.conf import settings

from billing.errors import RequestReused
from ideplatform.kit import ids, throttle
from ideplatform.kit.errors import InvalidInput
from providers.gateway.principal import Caller
from providers.gateway.request import Request
from providers.services import routing
from providers.types import AGENT_PREFIX, Call

MAX_KEY_CHARS: Final = 255


async def admit(request: Request, caller: Caller) -> None:
    """Count the request, one round trip to Redis; raises TooManyRequests (429).

    A client's `Idempotency-Key` decides the request's id from here on; raises InvalidInput for
    one that is too long.
    """
    await throttle.atake(throttle.of_user(throttle.gateway(), caller.actor.user_id))
    key = request.headers.get("idempotency-key", "")
    if len(key) > MAX_KEY_CHARS:
        raise InvalidInput(f"an Idempotency-Key has at most {MAX_KEY_CHARS} characters")
    if key:
        payer_id = caller.context.organization_id
        request.request_id = ids.derived(caller.actor.user_id, "gateway", payer_id, key)


def repeated(request: Request) -> RequestReused:
    """The answer to a second request with the same `Idempotency-Key`."""
    first = str(request.request_id)
    return RequestReused("a request with this Idempotency-Key was made", first_request_id=first)


def fitted(call: Call) -> Call:
    """The call by the name that is resolved, within the gateway's longest time.

    `anthropic/agent/...` is how clients that show only Anthropic's names call an agent; the twins
    of other models are known to the routing.
    """
    model = call.model
    if model.startswith(routing.TWIN + AGENT_PREFIX):
        model = model.removeprefix(routing.TWIN)
    longest_s = settings.ENV.gateway_total_s
    return msgspec.structs.replace(call, model=model, deadline_s=longest_s)
