"""The wire formats: each reads a request into a ``Conversation`` and lays an answer out again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from providers.simulator.answers import Answer
from providers.simulator.conversation import Conversation
from providers.simulator.envelopes import Envelope
from providers.simulator.failures import VendorFailure
from providers.simulator.frames import Frame
from providers.simulator.script import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One wire format, as functions without state."""

    vendor: str
    operation: str
    read: Callable[[bytes, str], Conversation]  # (body, path and query)
    whole: Callable[[Conversation, Answer], bytes]
    frames: Callable[[Conversation, Answer, Turn], list[Frame]]
    failure_event: Callable[[VendorFailure, Conversation, int], bytes]  # int: events sent before
    envelope: Callable[[VendorFailure, str], Envelope]


def digest(path: str, body: bytes) -> str:
    """What every id in an answer is derived from: the same request, the same digest."""
    return hashlib.blake2b(path.encode() + b"\x00" + body, digest_size=16).hexdigest()


CREATED = 1_793_491_200  # 2026-11-01T00:00Z: a creation time that never changes the bytes
