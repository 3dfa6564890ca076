"""The OpenAPI document of the whole platform, and its public address."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.api import operations as accounts_operations
from accounts.api.authentication import NoAuthentication
from agents.api import operations as agents_operations
from billing.api import operations as billing_operations
from billing.api import payment_operations, reconcile_operations, report_operations
from ideplatform.kit import openapi, renderers
from ideplatform.kit.openapi import Operation, describe
from providers.api import operations as providers_operations
from workspaces.api import operations as workspaces_operations

DESCRIBED = (
    accounts_operations,
    workspaces_operations,
    billing_operations,
    payment_operations,
    reconcile_operations,
    report_operations,
    providers_operations,
    agents_operations,
)
"""Loading them is what makes them known."""

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token, or an API key (`imk_...`).",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "A browser session; every method but GET also needs its CSRF token.",
    },
}


class Schema(APIView):
    """The document that generated it describes itself too."""

    public = "the description of the API is the same for everybody and holds no data"
    authentication_classes = [NoAuthentication]

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(encoded(), content_type=openapi.JSON)


describe(
    Schema,
    GET=Operation("read_schema", "This description of the API.", answer=dict[str, Any]),
)


def document() -> dict[str, Any]:
    """The description of every route; raises LookupError for one that nobody described."""
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    schema: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    parts = schema["components"]
    parts["schemas"] = dict(sorted((parts["schemas"] | openapi.components()).items()))
    parts["securitySchemes"] = _SCHEMES
    parts["responses"] = openapi.share_refusals(schema["paths"])
    schema["paths"] |= _probes()
    return schema


@functools.cache
def encoded() -> bytes:
    """The document as JSON: made once per process, since it takes most of a second."""
    return renderers.encode(document())


def _probes() -> dict[str, Any]:
    """The two routes that answer before Django (`ideplatform.status`)."""
    body = {"schema": {"type": "object", "properties": {"status": {"type": "string"}}}}
    content = {"content": {openapi.JSON: body}}
    return {
        f"/{name}": {
            "get": {
                "operationId": f"read_{name}",
                "summary": summary,
                "tags": ["probes"],
                "security": [{}],
                "responses": {
                    "200": {"description": "Yes.", **content},
                    "503": {"description": "No; `failing` names the parts.", **content},
                },
            }
        }
        for name, summary in (
            ("health", "Whether this process works."),
            ("ready", "Whether this process should get requests."),
        )
    }
