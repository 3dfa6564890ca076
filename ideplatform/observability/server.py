"""`/health` and `/metrics` on a port of their own, from a thread: the public port never has them.

Workers and beat have no other listener. A process whose port is taken goes on without: metrics
must not keep anybody from working.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ideplatform.observability import health

log = structlog.get_logger(__name__)

REQUEST_S = 10.0


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version, sys_version = "ide-mundial", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            names = health.stalled()
            status = {"status": "stalled", "failing": names} if names else {"status": "ok"}
            self._answer(503 if names else 200, "application/json", json.dumps(status).encode())
        elif path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
        else:
            self._answer(404, "application/json", b'{"status":"not_found"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base's name)
        """Scrapes are not news."""

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def start(*, host: str, port: int) -> int:
    """Serve from a daemon thread; returns the port, 0 when there is none (`port` 0, or taken)."""
    if not port:
        return 0
    try:
        server = _Server((host, port), _Handler)
    except OSError:
        log.warning("metrics.port_taken", port=port)
        return 0
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return port
