"""The environment of the platform's processes, and how a command finds a running platform."""

import socket
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlsplit

from ideplatform.embedded import private_files, secret_values
from ideplatform.embedded.options import DEFAULT_DATA_DIR, Options

ADDRESSES = "up.env"
HEADING = "Addresses of the platform that runs on this directory; manage.py commands read them."

# Nobody balances load in front of one machine: waiting for that would only delay a Ctrl-C.
QUICK_DRAIN = {"DRAIN_GRACE_S": "0", "DRAIN_S": "8", "SOCKET_SPREAD_S": "1"}


def for_children(
    options: Options,
    *,
    inherited: Mapping[str, str],
    secrets: Mapping[str, str],
    database_url: str,
    redis_url: str,
    simulator_port: int | None,
) -> dict[str, str]:
    """The environment every process of the platform shares.

    What the person set stands above what we would choose, except where it says which
    stores and which directory this platform uses.
    """
    chosen = {
        "ENVIRONMENT": "embedded",
        "DJANGO_SETTINGS_MODULE": "ideplatform.settings",
        "PUBLIC_URL": options.url,
        "ALLOWED_HOSTS": ",".join(_host_names(options)),
        "PYTHONUNBUFFERED": "1",
        **QUICK_DRAIN,
        **inherited,
        **secrets,
        "DATA_DIR": str(options.data_dir),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "WEB_PROCESSES": str(options.web),
    }
    chosen.pop("DATABASE_OWNER_URL", None)  # only the migration may change tables
    if options.json_logs:
        chosen["LOG_FORMAT"] = "json"
    if simulator_port is not None:
        address = f"127.0.0.1:{simulator_port}"
        allowed = [part for part in inherited.get("EGRESS_ALLOW", "").split(",") if part]
        chosen["EGRESS_ALLOW"] = ",".join([*allowed, address])
        chosen["SIMULATED_PROVIDER_URL"] = f"http://{address}"
    return chosen


def publish(data_dir: Path, shared: Mapping[str, str], *, owner_url: str) -> None:
    """Write the addresses (0600: they hold passwords) for commands run beside the platform."""
    names = ("DATABASE_URL", "REDIS_URL", "PUBLIC_URL", "EGRESS_ALLOW", "SIMULATED_PROVIDER_URL")
    values = {name: shared[name] for name in names if name in shared}
    values["DATABASE_OWNER_URL"] = owner_url
    private_files.write_values(data_dir / ADDRESSES, values, heading=HEADING)


def withdraw(data_dir: Path) -> None:
    (data_dir / ADDRESSES).unlink(missing_ok=True)


def adopt(environment: MutableMapping[str, str]) -> None:
    """Let a command use the keys and addresses of the platform in ``DATA_DIR``.

    Only where the embedded default is meant, and never over what is set already.
    """
    if environment.get("ENVIRONMENT", "embedded") != "embedded":
        return
    data_dir = Path(environment.get("DATA_DIR", DEFAULT_DATA_DIR))
    found = {
        **secret_values.without_vault(
            private_files.read_values(data_dir / secret_values.FILE_NAME), environment
        ),
        **private_files.read_values(data_dir / ADDRESSES),
    }
    if "DATABASE_URL" in environment:
        found.pop("DATABASE_OWNER_URL", None)
    for name, value in found.items():
        environment.setdefault(name, value)


def _host_names(options: Options) -> list[str]:
    """Names this platform answers to; one that listens everywhere also has the machine's."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    host = urlsplit(options.url).hostname or ""
    own = f"[{host}]" if ":" in host else host
    if options.host in {"0.0.0.0", "::"}:  # noqa: S104
        own = socket.gethostname()
    return names if own in names else [*names, own]
