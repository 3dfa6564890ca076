"""A process that answers a stored response until it is killed.

`python -m tests.providers.gateway.response_writer <database> <user> <organization> <response>`
says `stored` when its events stand in PostgreSQL, and goes on for ever.
"""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import UUID

import django


async def _answer(user: str, organization: str, name: str) -> None:
    from providers.gateway import responses_routes
    from providers.gateway.dialects import responses
    from providers.gateway.dialects.contract import Opening
    from providers.types import CallContext, Started, Text

    context = CallContext(user_id=UUID(user), organization_id=UUID(organization))
    body = b'{"model":"m","input":"hi","stream":true}'
    asked = responses.read(body, headers={}, request_id=UUID(int=1), context=context)
    opening = Opening(answer_id=name, model="m", created_s=1_700_000_000, asked=asked)
    prepared = await responses_routes.prepare(asked)
    recorder = await responses_routes.record(prepared, opening, on_stop=lambda: None)
    writer = responses.writer(opening)
    recorder.record(writer.start(Started(model="m")))
    for word in ("one ", "two ", "three "):
        recorder.record(writer.chunk(Text(index=0, text=word)))
    await recorder.flush()
    sys.stdout.write("stored\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    database, user, organization, name = sys.argv[1:]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")
    django.setup()
    from django.db import connections

    connections.settings["default"]["NAME"] = database
    connections["default"].settings_dict["NAME"] = database
    asyncio.run(_answer(user, organization, name))


if __name__ == "__main__":
    main()
