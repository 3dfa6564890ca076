"""Keys at the simulated door: any key opens it, some on purpose do not.

``bad...`` is refused as a wrong key, ``forbidden...`` as one without rights, ``poor...`` as an
account without credit; no key at all is the vendor's answer to that. What follows the last colon
of a key names a script (``scripts``).
"""

import hashlib

from aiohttp import web

from .failures import Kind, VendorFailure

HINTED_LENGTH = 12
_HEADERS = {"openai": (), "anthropic": ("x-api-key",), "google": ("x-goog-api-key",)}
_REFUSALS = {
    "bad": (Kind.BAD_KEY, {
        "openai": "Incorrect API key provided. You can find your API key in your account.",
        "anthropic": "invalid x-api-key",
        "google": "API key not valid. Please pass a valid API key.",
    }),
    "forbidden": (Kind.FORBIDDEN, {
        "openai": "You have insufficient permissions for this operation.",
        "anthropic": "Your API key does not have permission to use the specified resource.",
        "google": "The caller does not have permission",
    }),
    "poor": (Kind.NO_CREDIT, {
        "openai": "You exceeded your current quota, please check your plan and billing details.",
        "anthropic": "Your credit balance is too low to access the Anthropic API. Please go to "
                     "Plans & Billing to upgrade or purchase credits.",
        "google": "You exceeded your current quota, please check your plan and billing details.",
    }),
}  # fmt: skip
_MISSING = {
    "openai": "You didn't provide an API key. Provide it in an Authorization header using Bearer "
    "auth (i.e. Authorization: Bearer YOUR_KEY).",
    "anthropic": "x-api-key header is required",
    "google": "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API consumer identity to call this API.",
}


def key_of(request: web.Request, vendor: str) -> str:
    """The key a request brings, or an empty string."""
    for header in _HEADERS[vendor]:
        if key := request.headers.get(header, "").strip():
            return key
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.query.get("key", "") if vendor == "google" else ""


def check(key: str, vendor: str) -> None:
    """Raise the vendor's refusal of this key."""
    if not key:
        raise VendorFailure(Kind.MISSING_KEY, _MISSING[vendor])
    for prefix, (kind, words) in _REFUSALS.items():
        if key.startswith(prefix):
            raise VendorFailure(kind, words[vendor])


def hint(key: str) -> str:
    """The last four characters; nothing of a key so short that four would give it away."""
    return key[-4:] if len(key) >= HINTED_LENGTH else ""


def identity(key: str) -> str:
    """The key's name in usage reports; says nothing about the key."""
    return f"key_{hashlib.blake2b(key.encode(), digest_size=6).hexdigest()}" if key else ""
