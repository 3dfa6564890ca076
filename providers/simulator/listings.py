"""``GET /v1/models`` in OpenAI's or Anthropic's shape, and Google's ``/v1beta/models``."""

from collections.abc import Callable

from aiohttp import web

from . import catalogue, credentials, envelopes
from .catalogue import Model
from .dialects import CREATED
from .door import envelope_response
from .failures import Kind, VendorFailure

Listing = dict[str, object]
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def vendor_of(request: web.Request) -> str:
    """All three own ``/v1/models``: Anthropic's clients say their version, Google's its key."""
    if "x-goog-api-key" in request.headers or "key" in request.query:
        return "google"
    return "anthropic" if "anthropic-version" in request.headers else "openai"


async def v1_models(request: web.Request) -> web.StreamResponse:
    vendor = vendor_of(request)
    return _guarded(request, vendor, _PAGES[vendor])


async def v1_model(request: web.Request) -> web.StreamResponse:
    vendor = vendor_of(request)
    entry = _ENTRIES[vendor]
    return _guarded(request, vendor, lambda: entry(_found(request.match_info["model"], vendor)))


async def google_models(request: web.Request) -> web.StreamResponse:
    return _guarded(request, "google", _google_page)


async def google_model(request: web.Request) -> web.StreamResponse:
    name = request.match_info["model"]
    return _guarded(request, "google", lambda: _google_entry(_found(name, "google")))


def _guarded(request: web.Request, vendor: str, build: Callable[[], Listing]) -> web.StreamResponse:
    envelope = {
        "openai": envelopes.openai,
        "anthropic": envelopes.anthropic,
        "google": envelopes.google,
    }[vendor]
    try:
        credentials.check(credentials.key_of(request, vendor), vendor)
        return web.json_response(build())
    except VendorFailure as failure:
        return envelope_response(envelope(failure, "req_sim_models"))


def _found(model_id: str, vendor: str) -> Model:
    if model := catalogue.find(model_id, vendor):
        return model
    words = {
        "openai": f"The model '{model_id[:200]}' does not exist",
        "anthropic": f"model: {model_id[:200]}",
        "google": f"models/{model_id[:200]} is not found for API version v1beta",
    }
    raise VendorFailure(Kind.MODEL_MISSING, words[vendor], at="model")


def _openai_page() -> Listing:
    return {"object": "list", "data": [_openai_entry(one) for one in catalogue.listed("openai")]}


def _openai_entry(model: Model) -> Listing:
    return {"id": model.id, "object": "model", "created": CREATED, "owned_by": "simulated"}


def _anthropic_page() -> Listing:
    shown = [model for model in catalogue.listed("anthropic") if model.dimensions is None]
    return {
        "data": [_anthropic_entry(model) for model in shown],
        "has_more": False,
        "first_id": shown[0].id,
        "last_id": shown[-1].id,
    }


def _anthropic_entry(model: Model) -> Listing:
    yes, no = {"supported": True}, {"supported": False}
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.title,
        "created_at": "2026-11-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens,
        "capabilities": {
            "batch": no,
            "citations": no,
            "code_execution": no,
            "image_input": yes,
            "pdf_input": yes,
            "structured_outputs": yes,
            "context_management": {"supported": False},
            "server_tools": {"supported": False},
            "thinking": {"supported": True, "types": {"adaptive": yes, "enabled": yes}},
            "effort": {"supported": True, **dict.fromkeys(_EFFORTS, yes)},
        },
    }


def _google_page() -> Listing:
    return {"models": [_google_entry(model) for model in catalogue.listed("google")]}


def _google_entry(model: Model) -> Listing:
    methods = ["embedContent", "batchEmbedContents"]
    if model.dimensions is None:
        methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {
        "name": f"models/{model.id}",
        "version": "001",
        "displayName": model.title,
        "inputTokenLimit": model.context_tokens,
        "outputTokenLimit": model.output_tokens,
        "supportedGenerationMethods": methods,
        "thinking": model.dimensions is None,
    }


_PAGES = {"openai": _openai_page, "anthropic": _anthropic_page, "google": _google_page}
_ENTRIES = {"openai": _openai_entry, "anthropic": _anthropic_entry, "google": _google_entry}
