"""The command line, shared by ``python -m providers.simulator`` and ``manage.py``."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from .app import serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free port")
    parser.add_argument(
        "--ledger-file", type=Path, help="append-only file that keeps the ledger over a kill"
    )
    parser.add_argument(
        "--prices-file",
        type=Path,
        action="append",
        help="price list for the cost reports (JSON); may be repeated",
    )

    parser.add_argument(
        "--ends-with-stdin", action="store_true", help="stop when standard input closes"
    )


def run(
    *,
    host: str,
    port: int,
    ledger_file: Path | None,
    prices_files: Sequence[Path],
    announce: Callable[[str], None],
    ends_with_stdin: bool = False,
) -> None:
    """Serve until told to stop, on uvloop where it is installed."""
    coroutine = serve(
        host=host,
        port=port,
        ledger_file=ledger_file,
        prices_files=prices_files,
        announce=announce,
        ends_with_stdin=ends_with_stdin,
    )
    _run(coroutine)


def _run(coroutine: Coroutine[object, object, None]) -> None:
    try:
        import uvloop
    except ImportError:  # not built for every platform; the same server, a little slower
        asyncio.run(coroutine)
    else:
        uvloop.run(coroutine)
