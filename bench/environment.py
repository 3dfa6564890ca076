"""Own stores and a complete environment for a benchmark; import it before anything of Django.

A PostgreSQL and a Redis start from the wheels and are gone without trace at the end. This process
is pinned to the driver's core, the stores and every process of the platform to the system's.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
from contextlib import ExitStack

import django
import psutil

from bench.harness import Cores
from ideplatform.embedded import secret_values
from ideplatform.embedded.testing import Stores, running_stores

CORES = Cores.split()
DURABLE = "BENCH_DURABLE"
"""Set before this module is imported, the stores write to disk as in production."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PROVIDER_PORT = free_port()
"""Where a benchmark that needs a provider starts one; prepared databases have its account."""


def _raise() -> Stores:
    stack = ExitStack()
    stores = stack.enter_context(running_stores(is_durable=DURABLE in os.environ))
    atexit.register(stack.close)
    provider = f"127.0.0.1:{PROVIDER_PORT}"
    os.environ.update(
        {name: make() for name, make in secret_values.MAKERS.items()},
        DJANGO_SETTINGS_MODULE="ideplatform.settings",
        ENVIRONMENT="test",
        DATABASE_URL=stores.database_url,
        REDIS_URL=stores.redis_url,
        SIMULATED_PROVIDER_URL=f"http://{provider}",
        EGRESS_ALLOW=provider,
        ACCESS_TOKEN_S="7200",
        METRICS_PORT="0",
        LOG_LEVEL="error",
    )
    return stores


STORES = _raise()
_GUARDIANS = [child.pid for child in psutil.Process().children()]
for _guardian in _GUARDIANS:
    CORES.pin_system(_guardian)
CORES.pin_driver()
django.setup()


# Threads that sweep in the background would complain of the end of their stores.
atexit.register(logging.getLogger("psycopg").setLevel, logging.CRITICAL)


def measure_here() -> None:
    """For a benchmark whose measured side is this very process; the stores go to the other core."""
    CORES.pin_system(os.getpid())
    for guardian in _GUARDIANS:
        Cores(system=CORES.driver, driver=CORES.system).pin_system(guardian)


def store_pids() -> list[int]:
    """The processes of PostgreSQL and Redis at this moment, one per connection included."""
    guardians = (psutil.Process(pid) for pid in _GUARDIANS)
    return [child.pid for guardian in guardians for child in guardian.children(recursive=True)]
