"""DRF parsers behind the guards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from ideplatform.kit import guards
from ideplatform.kit.errors import TooLarge, UnsupportedMedia

MAX_JSON_BYTES = 1024 * 1024


def is_json(content_type: str) -> bool:
    """Whether a body of this type is read as JSON."""
    return content_type.partition(";")[0].strip().lower() == GuardedJSONParser.media_type


class GuardedJSONParser(BaseParser):
    """JSON within the view's `max_json_bytes` and `max_json_depth`, if it names them.

    Raises PlatformErrors, which `kit.rest.exception_handler` renders.
    """

    media_type = "application/json"

    def parse(  # type: ignore[override]  # a body may be any JSON value, not only an object
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> object:
        if media_type is not None and not is_json(media_type):  # DRF lets `*/*` choose a parser
            raise UnsupportedMedia
        view = (parser_context or {}).get("view")
        max_bytes = getattr(view, "max_json_bytes", MAX_JSON_BYTES)
        max_depth = getattr(view, "max_json_depth", guards.MAX_DEPTH)
        # One byte more than allowed tells "too large" from "just fits" without reading the rest.
        body = stream.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise TooLarge(f"at most {max_bytes} bytes are accepted here")
        return guards.parse_json(body, max_bytes=max_bytes, max_depth=max_depth)
