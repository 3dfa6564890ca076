"""The levers: ``/__scripts``, ``/__ledger``, ``/__requests``, ``/__reset`` and the reports."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import msgspec
from aiohttp import web

from . import credentials, envelopes, report_faults, reports
from .door import STATE, envelope_response, read_body
from .failures import VendorFailure, invalid, scripted
from .prices import PriceList
from .reports import Charges, Window
from .script import Script

PRICES: web.AppKey[PriceList] = web.AppKey("prices", PriceList)
ASKED: web.AppKey[list[tuple[str, str]]] = web.AppKey("asked", list)
ROWS: web.AppKey[list[int]] = web.AppKey("rows", list)
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Value(msgspec.Struct):
    value: str | None = None


class _Named(msgspec.Struct, rename="camel"):
    name: str
    parameter_value: _Value


class _Question(msgspec.Struct, rename="camel"):
    """What is read of a BigQuery query: its named parameters."""

    query_parameters: list[_Named]
    max_results: int = 10_000


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


async def post_script(request: web.Request) -> web.StreamResponse:
    """Add one script, or a list of them; a mistake names its place."""
    try:
        posted = msgspec.json.decode(await read_body(request), type=Script | list[Script])
        scripts = posted if isinstance(posted, list) else [posted]
        for script in scripts:
            request.app[STATE].book.post(script)
    except msgspec.MsgspecError as error:  # says which field of the author's script is wrong
        return _refused(invalid(f"Not a script: {error}"))
    except VendorFailure as failure:
        return _refused(failure)
    return web.json_response({"posted": [script.id for script in scripts]}, status=201)


async def show_ledger(request: web.Request) -> web.StreamResponse:
    """Rows behind ``after``, of one ``request_id`` if named; ``open`` counts running calls."""
    ledger, query = request.app[STATE].ledger, request.query
    after, limit = query.get("after", "0"), query.get("limit", "500000")
    if not (after.isdigit() and limit.isdigit()):
        return _refused(invalid("after and limit are whole numbers"))
    rows = list(ledger.rows(after=int(after), request_id=query.get("request_id"), limit=int(limit)))
    running = sum(1 for row in rows if row.outcome == "open")
    return _json({"rows": rows, "open": running, "dropped": ledger.dropped})


async def post_calls(request: web.Request) -> web.StreamResponse:
    """Put calls into the ledger as if they had been made."""
    try:
        rows = report_faults.read_calls(await read_body(request))
    except msgspec.MsgspecError as error:
        return _refused(invalid(f"Not a list of calls: {error}"))
    for row in rows:
        request.app[STATE].ledger.post(row)
    return web.json_response({"posted": len(rows)}, status=201)


async def post_report_faults(request: web.Request) -> web.StreamResponse:
    """Plant faults in the reports, until the next reset."""
    try:
        faults = report_faults.read_faults(await read_body(request))
    except msgspec.MsgspecError as error:
        return _refused(invalid(f"Not a list of faults: {error}"))
    request.app[STATE].report_faults.plant(faults)
    return web.json_response({"planted": len(faults)}, status=201)


async def show_requests(request: web.Request) -> web.StreamResponse:
    after = request.query.get("after", "0")
    if not after.isdigit():
        return _refused(invalid("after is a whole number"))
    is_raw = request.query.get("raw") == "1"
    body = request.app[STATE].recorder.render(after=int(after), is_raw=is_raw)
    return web.Response(body=body, content_type="application/json")


async def reset(request: web.Request) -> web.StreamResponse:
    request.app[STATE].reset()
    return web.json_response({"reset": True})


async def health(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"ok": True})


def _refused(failure: VendorFailure) -> web.Response:
    return envelope_response(envelopes.openai(failure, ""))


def report(build: Callable[[web.Request], object], *, vendor: str) -> Handler:
    """A report behind the vendor's own door: any key but a bad one is an admin key."""
    envelope = envelopes.anthropic if vendor == "anthropic" else envelopes.openai

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            credentials.check(credentials.key_of(request, vendor), vendor)
            fault = request.app[STATE].report_faults.of_delivery(vendor)
            if fault is not None and fault.status is not None:
                raise scripted(fault.status, None, fault.retry_after)
            if fault is not None:
                return web.Response(body=b'{"data": [', content_type="application/json")
            return _json(build(request))
        except VendorFailure as failure:
            wait_s = failure.retry_after_s
            headers = {} if wait_s is None else {"Retry-After": f"{wait_s:g}"}
            return envelope_response(envelope(failure, "req_sim_report"), headers)

    return handle


def openai_usage(request: web.Request) -> object:
    rows = list(request.app[STATE].ledger.rows())
    is_embeddings = request.path.endswith("/embeddings")
    return reports.openai_usage(
        rows, _unix_window(request), _group_by(request), is_embeddings=is_embeddings
    )


def openai_costs(request: web.Request) -> object:
    rows = list(request.app[STATE].ledger.rows())
    return reports.openai_costs(rows, _unix_window(request), _group_by(request), _charges(request))


def anthropic_usage(request: web.Request) -> object:
    rows = list(request.app[STATE].ledger.rows())
    return reports.anthropic_usage(rows, _iso_window(request), _group_by(request))


def anthropic_costs(request: web.Request) -> object:
    rows = list(request.app[STATE].ledger.rows())
    return reports.anthropic_costs(
        rows, _iso_window(request), _group_by(request), _charges(request)
    )


def google_rows(request: web.Request) -> object:
    start = _moment(request.query.get("start"), "start") or datetime(1970, 1, 1, tzinfo=UTC)
    end = _moment(request.query.get("end"), "end") or datetime.now(UTC) + timedelta(seconds=1)
    rows = list(request.app[STATE].ledger.rows())
    return reports.google_rows(rows, start=start, end=end, money=_charges(request))


async def bigquery(request: web.Request) -> web.StreamResponse:
    """A query of the export, and further pages of its rows, for the window it named."""
    if request.method == "POST":
        asked = msgspec.json.decode(await read_body(request), type=_Question)
        window = {one.name: one.parameter_value.value for one in asked.query_parameters}
        request.app[ASKED][:] = [(window.get("start") or "", window.get("end") or "")]
        request.app[ROWS][:] = [asked.max_results]

    def page(request: web.Request) -> object:
        (start, end), (limit,) = request.app[ASKED][0], request.app[ROWS]
        rows = list(request.app[STATE].ledger.rows())
        found = reports.google_rows(
            rows,
            start=_moment(start, "start") or datetime(1970, 1, 1, tzinfo=UTC),
            end=_moment(end, "end") or datetime.now(UTC),
            money=_charges(request),
        )
        number = (request.query.get("pageToken") or "page_0").removeprefix("page_")
        return reports.bigquery_page(found, page=int(number), limit=limit)

    return await report(page, vendor="google")(request)


async def google_token(request: web.Request) -> web.StreamResponse:
    """An access token for a service account that signs its claim."""
    form = await request.post()
    claim = str(form.get("assertion", ""))
    if form.get("grant_type") != _GRANT or claim.count(".") != 2:
        return web.json_response({"error": "invalid_grant"}, status=400)
    return web.json_response({"access_token": "ya29.simulated", "expires_in": 3_599})


def _charges(request: web.Request) -> Charges:
    return Charges(prices=request.app[PRICES], faults=request.app[STATE].report_faults)


def _group_by(request: web.Request) -> tuple[str, ...]:
    query = request.query
    return tuple(query.getall("group_by", []) + query.getall("group_by[]", []))


def _unix_window(request: web.Request) -> Window:
    start = _unix(request.query.get("start_time"), "start_time")
    if start is None:
        raise invalid("Missing required parameter: 'start_time'.", at="start_time")
    return _window(request, start, _unix(request.query.get("end_time"), "end_time"))


def _iso_window(request: web.Request) -> Window:
    start = _moment(request.query.get("starting_at"), "starting_at")
    if start is None:
        raise invalid("starting_at: Field required")
    return _window(request, start, _moment(request.query.get("ending_at"), "ending_at"))


def _window(request: web.Request, start: datetime, end: datetime | None) -> Window:
    query = request.query
    return reports.window(
        start=start,
        end=end,
        width=query.get("bucket_width", "1d"),
        limit=query.get("limit"),
        page=query.get("page"),
    )


def _unix(value: str | None, at: str) -> datetime | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 10:
        raise invalid(f"Invalid '{at}': unix seconds expected.", at=at)
    return datetime.fromtimestamp(int(value), UTC)


def _moment(value: str | None, at: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise invalid(f"{at}: Input should be a valid datetime", at=at) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
