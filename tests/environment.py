"""Loaded by pytest before Django (`-p tests.environment`): real stores and a complete environment.

With `DATABASE_URL` and `REDIS_URL` set, those servers are used; else own ones are started from
the wheels and removed at the end. Each xdist worker has its own Redis database and ports.
"""

from __future__ import annotations

import atexit
import base64
import os
import secrets
import socket
from contextlib import ExitStack

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start_stores() -> None:
    from ideplatform.embedded.testing import running_stores

    stack = ExitStack()
    stores = stack.enter_context(running_stores())
    atexit.register(stack.close)
    os.environ["DATABASE_URL"] = stores.database_url
    os.environ["REDIS_URL"] = stores.redis_url


def _key() -> str:
    """A key that the start-up checks accept: they refuse what is not random."""
    return "tests-" + secrets.token_hex(24)


def _signing() -> str:
    return "whsec_" + secrets.token_hex(16)


def _complete() -> None:
    master = base64.b64encode(secrets.token_bytes(32)).decode()
    port, stripe_port = _free_port(), _free_port()
    os.environ.update(
        {
            "DJANGO_SETTINGS_MODULE": "ideplatform.settings",
            "ENVIRONMENT": "test",
            "SECRET_KEY": _key(),
            "JWT_KEYS": f"new:{_key()},old:{_key()}",
            "API_KEY_PEPPERS": f"2:{_key()},1:{_key()}",
            "VAULT_MASTER_KEYS": f"1:{master}",
            "SIMULATED_PROVIDER_URL": f"http://127.0.0.1:{port}",
            "EGRESS_ALLOW": f"127.0.0.1:{port},127.0.0.1:{stripe_port}",
            "STRIPE_SECRET_KEY": "sk_test_" + secrets.token_hex(12),
            "STRIPE_WEBHOOK_SECRETS": f"{_signing()},{_signing()}",
            "STRIPE_API_BASE": f"http://127.0.0.1:{stripe_port}",
            "ALLOWED_HOSTS": "*",
            "METRICS_PORT": "0",
            "LOG_LEVEL": "error",
        }
    )
    if _WORKER:
        base, _, number = os.environ["REDIS_URL"].rpartition("/")
        os.environ["REDIS_URL"] = f"{base}/{(int(number or 0) + _WORKER) % 16}"


if "DATABASE_URL" not in os.environ:
    _start_stores()
_complete()
