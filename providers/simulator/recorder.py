"""The requests as they arrived, with their secrets taken out: what tests look at."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from . import credentials

REQUESTS_MAX = 5_000  # the oldest are forgotten first
BYTES_MAX = 64 * 2**20
_SECRET_HEADERS = {"authorization", "x-api-key", "x-goog-api-key", "cookie", "proxy-authorization"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request; ``seq`` is that of its ledger row."""

    seq: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Recorder:
    """A bounded memory of requests."""

    def __init__(self) -> None:
        self._requests: deque[Recorded] = deque()
        self._bytes = 0

    def add(
        self, *, seq: int, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        kept = {name.lower(): _safe(name, value) for name, value in headers.items()}
        self._requests.append(Recorded(seq=seq, method=method, path=path, headers=kept, body=body))
        self._bytes += len(body)
        while len(self._requests) > REQUESTS_MAX or self._bytes > BYTES_MAX:
            self._bytes -= len(self._requests.popleft().body)

    def clear(self) -> None:
        self._requests.clear()
        self._bytes = 0

    def render(self, *, after: int = 0, is_raw: bool = False) -> bytes:
        """All requests behind ``after``; bodies as JSON where they are JSON, else as text.

        ``is_raw``: always as the text that came, to be compared byte for byte.
        """
        shown = [
            {
                "seq": one.seq,
                "method": one.method,
                "path": one.path,
                "headers": one.headers,
                "body": one.body.decode(errors="replace") if is_raw else _body(one.body),
            }
            for one in self._requests
            if one.seq > after
        ]
        return msgspec.json.encode({"requests": shown})


def _safe(name: str, value: str) -> str:
    """The scheme and the last four characters are all that is kept of a key."""
    if name.lower() not in _SECRET_HEADERS:
        return value
    scheme, space, key = value.rpartition(" ")
    return f"{scheme}{space}...{credentials.hint(key)}"


def _body(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode(errors="replace")
