"""The process's keys, parsed once from the environment and checked before the first use."""

from __future__ import annotations

import functools
from pathlib import Path

from django.conf import settings

from ideplatform.kit import crypto


@functools.cache
def signing() -> crypto.Keyset:
    """JWT_KEYS: the first signs tokens, all verify them."""
    return crypto.Keyset.parse(settings.ENV.jwt_keys.get_secret_value(), name="JWT_KEYS")


@functools.cache
def peppers() -> crypto.Keyset:
    """API_KEY_PEPPERS: the first is for new keys, all verify."""
    text = settings.ENV.api_key_peppers.get_secret_value()
    return crypto.Keyset.parse(text, name="API_KEY_PEPPERS")


@functools.cache
def masters() -> crypto.LocalKeyring:
    """VAULT_MASTER_KEYS or its file: the highest version wraps data keys, all unwrap."""
    return crypto.LocalKeyring.parse(_master_text())


def _master_text() -> str:
    env = settings.ENV
    if env.vault_master_keys_file:
        return crypto.read_masters(Path(env.vault_master_keys_file))
    text: str = env.vault_master_keys.get_secret_value()
    return text


def check() -> None:
    """Start-up check of every key; raises WeakKey, which names the setting and no value."""
    env = settings.ENV
    texts = {
        "SECRET_KEY": env.secret_key.get_secret_value(),
        "JWT_KEYS": env.jwt_keys.get_secret_value(),
        "API_KEY_PEPPERS": env.api_key_peppers.get_secret_value(),
        "VAULT_MASTER_KEYS": _master_text(),
    }
    crypto.check_separate(texts)
    signing(), peppers(), masters()
