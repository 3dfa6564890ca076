"""The JSON renderer of REST: orjson, decimals as strings, times as RFC 3339."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer

from ideplatform.kit import money
from ideplatform.kit.errors import InvalidInput, Pointer


def _default(value: object) -> str:
    if isinstance(value, Decimal):
        return money.text(value)
    raise TypeError


def encode(data: object) -> bytes:
    """Plain values as JSON bytes."""
    return orjson.dumps(data, default=_default, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class JSONRenderer(BaseRenderer):
    """`application/json` without DRF's slower encoder."""

    media_type, format, charset = "application/json", "json", None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else encode(data)


class Negotiation(DefaultContentNegotiation):
    """`?format=` names one of the view's formats; another one is bad input, not a missing page."""

    def filter_renderers(
        self,
        renderers: Iterable[BaseRenderer],
        format: str,  # noqa: A002  (DRF's name)
    ) -> list[BaseRenderer]:
        offered = list(renderers)
        found = [renderer for renderer in offered if renderer.format == format]
        if not found:
            known = ", ".join(sorted(str(renderer.format) for renderer in offered))
            raise InvalidInput(errors=[Pointer(pointer="/format", detail=f"is one of: {known}")])
        return found
