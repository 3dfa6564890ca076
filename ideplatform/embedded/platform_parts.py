"""The platform's own processes as command lines. A new part is one function more."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from ideplatform.embedded.options import Options
from ideplatform.embedded.ports import PortBook
from ideplatform.embedded.processes import ChildSpec

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MANAGE = (sys.executable, str(PROJECT_ROOT / "manage.py"))
CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "ideplatform")
# Gossip, mingle and heartbeats serve fleets that watch each other; our leases do that work.
QUIET_WORKER = ("--without-gossip", "--without-mingle", "--without-heartbeat")
ROOT_IS_KNOWN = "ignore:You're running the worker with superuser privileges"  # PostgreSQL says so

# The order of the end: clients are told first, the stores go last (their own modules say 90, 91).
WEB_FIRST, BEAT, WORKERS, SIMULATOR = 0, 10, 20, 30


def web(options: Options, env: Mapping[str, str], ports: PortBook, *, fd: int) -> list[ChildSpec]:
    """Web processes that share the supervisor's listening socket ``fd``."""
    return [
        _part(
            name,
            (*MANAGE, "serve", "--fd", str(fd)),
            env,
            ports,
            stop_order=WEB_FIRST,
            stop_timeout_s=10,
            pass_fds=(fd,),
        )
        for name in _numbered("web", options.web)
    ]


def workers(options: Options, env: Mapping[str, str], ports: PortBook) -> list[ChildSpec]:
    """Agent workers (threads that park on one loop), the default worker and beat."""
    threads, processes = env.get("AGENT_THREADS", "512"), env.get("DEFAULT_PROCESSES", "2")
    queues = "queue:agent_tasks,queue:embeddings"
    agents = [
        _worker(name, ("-Q", queues, "-P", "threads", "-c", threads), env, ports)
        for name in _numbered("agents", options.agents)
    ]
    default = _worker(
        "worker", ("-Q", "queue:default", "-P", "prefork", "-c", processes), env, ports
    )
    beat = _part(
        "beat",
        (*CELERY, "beat", "-S", "celery.beat:Scheduler", "--pidfile="),
        env,
        ports,
        stop_order=BEAT,
        stop_timeout_s=2,
    )
    return [*agents, default, beat]


def simulator(env: Mapping[str, str], ports: PortBook) -> ChildSpec:
    """The simulated provider on its remembered loopback port."""
    address = ("--host", "127.0.0.1", "--port", str(ports.port("simulator")))
    return _part(
        "simulator",
        (*MANAGE, "simulated_provider", *address),
        env,
        ports,
        stop_order=SIMULATOR,
        stop_timeout_s=2,
    )


def job(name: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> ChildSpec:
    """A management command that runs once."""
    return ChildSpec(name=name, argv=(*MANAGE, *arguments), env=env, cwd=PROJECT_ROOT)


def _worker(
    name: str, arguments: tuple[str, ...], env: Mapping[str, str], ports: PortBook
) -> ChildSpec:
    return _part(
        name,
        (*CELERY, "worker", "-n", f"{name}@%h", *arguments, *QUIET_WORKER),
        {"PYTHONWARNINGS": ROOT_IS_KNOWN, **env},
        ports,
        stop_order=WORKERS,
        stop_timeout_s=8,
    )


def _part(
    name: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    ports: PortBook,
    *,
    stop_order: int,
    stop_timeout_s: float,
    pass_fds: tuple[int, ...] = (),
) -> ChildSpec:
    return ChildSpec(
        name=name,
        argv=argv,
        env={**env, "METRICS_PORT": str(ports.port(f"{name}-metrics"))},
        cwd=PROJECT_ROOT,
        clean_exits=frozenset({0, -signal.SIGTERM}),
        stop_order=stop_order,
        stop_timeout_s=stop_timeout_s,
        pass_fds=pass_fds,
    )


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
