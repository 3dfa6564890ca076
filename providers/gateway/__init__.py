"""The plain ASGI application `/v1/*`: stock OpenAI and Anthropic clients through the paid door.

No Django between the first byte and the last: no handler, DRF, ORM, SDK or `sync_to_async`; the
database only by `run_db` and billing's lanes.
Walk: `app` -> `principal` -> `admission` -> `dialects.<name>.read` -> `exchange` ->
`services.gateway.stream` -> the dialect's writer, or the vendor's own bytes.
"""
