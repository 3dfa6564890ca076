"""Google's billing export: rows of a BigQuery table, by its REST API.

The report key is a service account's JSON, which buys an access token for an hour, or such a token
itself. The account's `report_table` names the table. Sources: BigQuery `jobs.query` and
`jobs.getQueryResults`, OAuth 2.0 for server to server (RFC 7523).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from billing.types import ReportKind
from ideplatform.kit import clock, egress
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken, AnswerTooLarge
from providers.adapters import wire
from providers.adapters.contract import Route
from providers.adapters.patience import TIMEOUTS, asked
from providers.errors import BadKey

ADDRESS: Final = "https://bigquery.googleapis.com"
MOST_PAGES: Final = 200
_ROWS: Final = 2_000
_POLLS: Final = 60
_POLL_S: Final = 5
_HOUR_S: Final = 3_600
_SCOPE: Final = "https://www.googleapis.com/auth/bigquery.readonly"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SERVICES: Final = ("Gemini API", "Generative Language API", "Vertex AI")
_SELECT: Final = (
    "SELECT TO_JSON_STRING(t) AS line FROM `{table}` AS t"
    " WHERE t.usage_start_time >= @start AND t.usage_start_time < @end"
    " AND t.service.description IN UNNEST(@services)"
    " ORDER BY t.usage_start_time, t.sku.id, t.export_time, line"
)


class _Job(msgspec.Struct, rename="camel"):
    job_id: str
    location: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    """What BigQuery says about a query, and the next page of its rows."""

    job_complete: bool = False
    job_reference: _Job | None = None
    page_token: str | None = None


class _Account(msgspec.Struct):
    """What is used of a service account's JSON."""

    client_email: str
    private_key: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class _Token(msgspec.Struct):
    access_token: str


async def pages(
    route: Route, key: Secret, start: datetime, end: datetime
) -> AsyncIterator[tuple[ReportKind, bytes]]:
    """The export's rows of a window, page by page; raises as `reports.fetch` does."""
    route = replace(route, base_url=route.config.report_url or ADDRESS)
    token = await _token(key)
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    project, _, _ = route.config.report_table.partition(".")
    path = f"/bigquery/v2/projects/{quote(project, safe='')}/queries"
    body = msgspec.json.encode(_question(route.config.report_table, start, end))
    raw = await asked("POST", route, path, headers=headers, body=body)
    for _ in range(MOST_PAGES):
        raw, answer = await _finished(route, path, headers, raw)
        yield ReportKind.GOOGLE_ROWS, raw
        if not answer.page_token:
            return
        raw = await asked("GET", route, _next(path, answer), headers=headers)
    raise AnswerTooLarge


async def _finished(
    route: Route, path: str, headers: Mapping[str, str], raw: bytes
) -> tuple[bytes, _Answer]:
    """The answer of a query that is done, asked for again while it runs."""
    for _ in range(_POLLS):
        answer = wire.decode(raw, _Answer)
        if answer.job_complete:
            return raw, answer
        await asyncio.sleep(_POLL_S)
        raw = await asked("GET", route, _next(path, answer), headers=headers)
    raise egress.AnswerTimeout


def _next(path: str, answer: _Answer) -> str:
    job = answer.job_reference
    if job is None:
        raise AnswerBroken
    query = {"maxResults": str(_ROWS), "location": job.location, "pageToken": answer.page_token}
    given = urlencode({name: value for name, value in query.items() if value})
    return f"{path}/{quote(job.job_id, safe='')}?{given}"


def _question(table: str, start: datetime, end: datetime) -> dict[str, object]:
    return {
        "query": _SELECT.format(table=table),
        "useLegacySql": False,
        "maxResults": _ROWS,
        "timeoutMs": 50_000,
        "parameterMode": "NAMED",
        "queryParameters": [
            _moment("start", start),
            _moment("end", end),
            {
                "name": "services",
                "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
                "parameterValue": {"arrayValues": [{"value": name} for name in _SERVICES]},
            },
        ],
    }


def _moment(name: str, value: datetime) -> dict[str, object]:
    return {
        "name": name,
        "parameterType": {"type": "TIMESTAMP"},
        "parameterValue": {"value": f"{value:%Y-%m-%dT%H:%M:%SZ}"},
    }


async def _token(key: Secret) -> Secret:
    """An access token: the key itself, or what its service account is given for a signature."""
    if not key.reveal().lstrip().startswith("{"):
        return key
    try:
        account = msgspec.json.decode(key.reveal(), type=_Account)
    except msgspec.MsgspecError:
        raise BadKey from None
    form = urlencode({"grant_type": _GRANT, "assertion": _signed(account)}).encode()
    async with egress.request(
        "POST",
        account.token_uri,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=form,
        timeouts=TIMEOUTS,
        max_bytes=wire.MAX_ERROR_BYTES,
    ) as response:
        if response.status != 200:
            raise wire.failure(response.status if response.status >= 500 else 401, ())
        return Secret(wire.decode(await response.read(), _Token).access_token)


def _signed(account: _Account) -> str:
    """The account's claim to be itself, signed by RS256."""
    now = int(clock.now().timestamp())
    claim = {
        "iss": account.client_email,
        "scope": _SCOPE,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + _HOUR_S,
    }
    parts = [
        _encoded(msgspec.json.encode(part)) for part in ({"alg": "RS256", "typ": "JWT"}, claim)
    ]
    said = ".".join(parts)
    try:
        private = load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError):
        raise BadKey from None
    if not isinstance(private, RSAPrivateKey):
        raise BadKey
    return f"{said}.{_encoded(private.sign(said.encode(), PKCS1v15(), hashes.SHA256()))}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
