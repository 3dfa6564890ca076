"""Signatures over reasoning, as Anthropic and Google demand them back, without keeping state."""

import base64
import hashlib

import msgspec

_KEY = b"simulated-provider-signature"
ANYTHING_GOES = "skip_thought_signature_validator"  # Google's documented escape for foreign history


def sign(text: str) -> str:
    """A base64 signature that only this text carries."""
    digest = hashlib.blake2b(text.encode(), key=_KEY, digest_size=48).digest()
    return base64.b64encode(digest).decode()


def sign_call(name: str, arguments: object) -> str:
    """The signature of a function call: over its name and its arguments in canonical order."""
    return sign(call_text(name, arguments))


def call_text(name: str, arguments: object) -> str:
    return name + msgspec.json.encode(arguments, order="sorted").decode()


def same(left: str, right: str) -> bool:
    """Whether two base64 texts are equal; clients re-encode with the URL alphabet."""
    return _plain(left) == _plain(right)


def _plain(signature: str) -> str:
    return signature.replace("-", "+").replace("_", "/").rstrip("=")
