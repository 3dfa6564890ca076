"""Lists of named keys from the environment (`kid:key,kid:key`), checked before the first use."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import NoReturn

MIN_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
# Published examples long enough to pass the length check, and their usual padding.
_KNOWN = (
    "a-string-secret-at-least-256-bits-long",
    "your-256-bit-secret",
    "your-secret-key",
    "your_secret_key",
    "django-insecure-",
    "changeme",
    "change-me",
    "change_me",
    "change-this",
    "change_this",
    "changethis",
    "default-secret",
    "super-secret",
    "supersecret",
    "insecure",
    "replace-me",
    "replace_me",
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz",
)


class WeakKey(Exception):
    """A configured key must not be used. Names the setting, never the value."""


class Keyset:
    """Named HMAC keys: the first signs, all verify."""

    __slots__ = ("_keys", "newest")

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = keys
        self.newest = next(iter(keys))

    @classmethod
    def parse(cls, text: str, *, name: str) -> Keyset:
        """From `kid:key` pairs with commas.

        Raises WeakKey for an empty list, a repeated kid or key, a short or well-known key.
        """
        keys: dict[str, bytes] = {}
        for kid, key in entries(text, name=name):
            check_material(key, name=name)
            keys[kid] = key.encode()
        if not keys:
            raise WeakKey(f"{name} names no key")
        if len(set(keys.values())) < len(keys):
            raise WeakKey(f"{name} names the same key twice")
        return cls(keys)

    def key(self, kid: str) -> bytes | None:
        """The key of that name, or None: a token chooses its kid, so it may be any text."""
        return self._keys.get(kid)

    def mac(self, message: bytes, *, kid: str) -> bytes:
        """HMAC-SHA256 under the named key; raises KeyError for an unknown one."""
        return hmac.digest(self._keys[kid], message, hashlib.sha256)

    def __repr__(self) -> str:
        return f"Keyset(kids={list(self._keys)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a keyset is neither pickled nor copied")


def entries(text: str, *, name: str) -> Iterator[tuple[str, str]]:
    """The `name:key` pairs of a setting, in order; raises WeakKey on a malformed one."""
    seen: set[str] = set()
    for pair in filter(None, (part.strip() for part in text.split(","))):
        kid, colon, key = pair.partition(":")
        if not colon or not _NAME.fullmatch(kid):
            raise WeakKey(f"{name} is a list of name:key pairs with commas")
        if kid in seen:
            raise WeakKey(f"{name} names {kid} twice")
        seen.add(kid)
        yield kid, key.strip()


def check_material(key: str, *, name: str) -> None:
    """Refuse a key that a stranger could know or guess; raises WeakKey."""
    lowered = key.lower()
    if len(key.encode()) < MIN_KEY_BYTES:
        raise WeakKey(f"{name} holds a key of less than {MIN_KEY_BYTES} bytes")
    if any(known in lowered for known in _KNOWN):
        raise WeakKey(f"{name} holds a well-known example key")
    if len(set(key)) < 10:
        raise WeakKey(f"{name} holds a key that is not random")


def check_separate(settings: dict[str, str]) -> None:
    """Start-up check: no key of one setting is a key of another; raises WeakKey.

    `settings` maps the variable's name to its raw text; SECRET_KEY is one bare key, the others
    are `name:key` lists.
    """
    owner: dict[str, str] = {}
    for name, text in settings.items():
        pairs = [("", text)] if name == "SECRET_KEY" else list(entries(text, name=name))
        for _, key in pairs:
            check_material(key, name=name)
            if owner.setdefault(key, name) != name:
                raise WeakKey(f"{name} repeats a key of {owner[key]}")
