"""The production server around a small application, for tests that end its process.

Arguments: port, then head, body, grace, spread and finish times in seconds.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from uvicorn import Config

from ideplatform import serving
from ideplatform.kit import draining


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await _socket(scope, receive, send)
    elif scope["type"] == "http":
        await _http(scope, receive, send)


async def _http(scope, receive, send):
    """/echo answers the body; /slow?s answers after s seconds; anything else says hello."""
    body = b"hello"
    if scope["path"] == "/echo":
        body = await _body(receive)
    elif scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"]))
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            sys.stdout.write("disconnected\n")
            sys.stdout.flush()
            return b""
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _socket(scope, receive, send):
    """/polite subscribes to the drain and says farewell; /mute does not."""
    await receive()
    await send({"type": "websocket.accept"})

    async def farewell() -> None:
        await send({"type": "websocket.send", "text": "draining"})
        await send({"type": "websocket.close", "code": 1012})

    unsubscribe = draining.subscribe(farewell) if scope["path"] == "/polite" else None
    await send({"type": "websocket.send", "text": "open"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    if unsubscribe is not None:
        unsubscribe()


def main() -> None:
    port = int(sys.argv[1])
    head_s, body_s, grace_s, spread_s, finish_s = (float(text) for text in sys.argv[2:])
    protocol = type("Quick", (serving.DeadlineProtocol,), {"head_s": head_s, "body_s": body_s})
    config = Config(
        application,
        loop="uvloop",
        http=protocol,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
    )
    server = serving.DrainingServer(config, grace_s=grace_s, spread_s=spread_s, finish_s=finish_s)
    server.run(sockets=[socket.create_server(("127.0.0.1", port))])


if __name__ == "__main__":
    main()
