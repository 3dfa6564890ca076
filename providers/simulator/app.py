"""The server: routes, start and stop."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from . import control, door, listings
from .dialects import (
    Dialect,
    anthropic_messages,
    anthropic_stream,
    gemini_stream,
    openai_chat,
    responses_stream,
)
from .door import STATE, Simulator
from .failures import Kind, VendorFailure
from .ledger import Ledger
from .prices import PriceList

BODY_BYTES_MAX = 64 * 2**20
SHUTDOWN_S = 2.0
PRODUCTION_REFUSAL = "The simulated provider does not start with ENVIRONMENT=production."
READY_LINE = "simulated provider ready at {url}"
OPENAI, RESPONSES = openai_chat.DIALECT, responses_stream.DIALECT
ANTHROPIC, GOOGLE = anthropic_stream.DIALECT, gemini_stream.DIALECT
_COUNTING = Dialect(
    vendor="anthropic",
    operation="count",
    read=anthropic_messages.read_count,
    whole=ANTHROPIC.whole,
    frames=ANTHROPIC.frames,
    failure_event=ANTHROPIC.failure_event,
    envelope=ANTHROPIC.envelope,
)


class NotInProduction(RuntimeError):
    """A simulated provider must never answer a paying customer."""


def refuse_production() -> None:
    if os.environ.get("ENVIRONMENT", "").strip().lower() == "production":
        raise NotInProduction(PRODUCTION_REFUSAL)


def build(*, ledger_file: Path | None = None, prices_files: Sequence[Path] = ()) -> web.Application:
    """The application; refuses production whoever starts it."""
    refuse_production()
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_too_large])
    app[STATE] = Simulator(ledger=Ledger(ledger_file))
    app[control.PRICES] = PriceList.load(prices_files)
    app[control.ASKED], app[control.ROWS] = [], []
    app.on_cleanup.append(_close_ledger)
    _add_vendor_routes(app.router)
    _add_report_routes(app.router)
    _add_control_routes(app.router)
    return app


async def _close_ledger(app: web.Application) -> None:
    app[STATE].ledger.close()


@web.middleware
async def _too_large(request: web.Request, handler: control.Handler) -> web.StreamResponse:
    """A body over the limit is refused in the vendor's words, before it is dispatched."""
    try:
        return await handler(request)
    except VendorFailure as failure:
        if failure.kind is not Kind.TOO_LARGE:
            raise
        dialect = _by_path(request.path)
        return door.envelope_response(dialect.envelope(failure, "req_sim_large"))


def _by_path(path: str) -> Dialect:
    if path.startswith(("/v1beta/", "/v1/models/")):
        return GOOGLE
    return ANTHROPIC if path.startswith("/v1/messages") else OPENAI


def _completing(dialect: Dialect) -> control.Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await door.complete(request, dialect)

    return handle


async def _openai_embeddings(request: web.Request) -> web.StreamResponse:
    return await door.embed(request, OPENAI)


async def _anthropic_count(request: web.Request) -> web.StreamResponse:
    return await door.count(request, _COUNTING, field_name="input_tokens")


async def _google(request: web.Request) -> web.StreamResponse:
    """Google names the method behind a colon in the path."""
    match request.match_info["target"].rpartition(":")[2]:
        case "generateContent" | "streamGenerateContent":
            return await door.complete(request, GOOGLE)
        case "embedContent" | "batchEmbedContents":
            return await door.embed(request, GOOGLE)
        case "countTokens":
            return await door.count(request, GOOGLE, field_name="totalTokens")
        case unknown:
            failure = VendorFailure(Kind.NOT_FOUND, f"Method {unknown[:80]} is not found.")
            return door.envelope_response(GOOGLE.envelope(failure, ""))


def _add_vendor_routes(router: web.UrlDispatcher) -> None:
    router.add_post("/v1/chat/completions", _completing(OPENAI))
    router.add_post("/v1/responses", _completing(RESPONSES))
    router.add_post("/v1/messages", _completing(ANTHROPIC))
    router.add_post("/v1/messages/count_tokens", _anthropic_count)
    router.add_post("/v1/embeddings", _openai_embeddings)
    router.add_get("/v1/models", listings.v1_models)
    router.add_get("/v1/models/{model:.+}", listings.v1_model)
    router.add_get("/v1beta/models", listings.google_models)
    router.add_get("/v1beta/models/{model:[^:]+}", listings.google_model)
    for version in ("v1", "v1beta"):  # the SDK went from the second to the first
        router.add_post(f"/{version}/models/{{target:.+}}", _google)


def _add_report_routes(router: web.UrlDispatcher) -> None:
    def add(path: str, build: Callable[[web.Request], object], vendor: str) -> None:
        router.add_get(path, control.report(build, vendor=vendor))

    add("/v1/organization/usage/completions", control.openai_usage, "openai")
    add("/v1/organization/usage/embeddings", control.openai_usage, "openai")
    add("/v1/organization/costs", control.openai_costs, "openai")
    add("/v1/organizations/usage_report/messages", control.anthropic_usage, "anthropic")
    add("/v1/organizations/cost_report", control.anthropic_costs, "anthropic")
    add("/__reports/google_bigquery_standard_rows", control.google_rows, "google")
    router.add_post("/bigquery/v2/projects/{project}/queries", control.bigquery)
    router.add_get("/bigquery/v2/projects/{project}/queries/{job}", control.bigquery)
    router.add_post("/oauth2/token", control.google_token)


def _add_control_routes(router: web.UrlDispatcher) -> None:
    router.add_post("/__scripts", control.post_script)
    router.add_get("/__ledger", control.show_ledger)
    router.add_post("/__ledger", control.post_calls)
    router.add_post("/__report_faults", control.post_report_faults)
    router.add_get("/__requests", control.show_requests)
    router.add_post("/__reset", control.reset)
    router.add_get("/__health", control.health)
    router.add_get("/", control.health)  # HEAD / too: clients knock there first


async def serve(
    *,
    host: str,
    port: int,
    ledger_file: Path | None = None,
    prices_files: Sequence[Path] = (),
    announce: Callable[[str], None],
    ends_with_stdin: bool = False,
) -> None:
    """Serve until SIGTERM, SIGINT or, if asked, the end of standard input.

    Port 0 takes a free one; ``announce`` gets the ready line.
    """
    app = build(ledger_file=ledger_file, prices_files=prices_files)
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1_024)
    try:
        await site.start()
        stop = _stop_signal(ends_with_stdin=ends_with_stdin)  # before anyone is told we are there
        announce(READY_LINE.format(url=_address(runner)))
        await stop.wait()
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _stop_signal(*, ends_with_stdin: bool) -> asyncio.Event:
    """Set when the process is told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if ends_with_stdin:  # the pipe of a test run closes however that run ends
        loop.add_reader(sys.stdin.fileno(), stop.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
