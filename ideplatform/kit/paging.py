"""Keyset pages: a signed cursor names the last row of a page, and the next page begins after it.

A cursor is bound to a scope (whose list, which filters), so it opens no list but the one it came
from. Pages stay right while rows come and go, and cost the same at any depth.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Generic, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings
from django.db.models import Model, Q, QuerySet

from ideplatform.kit.errors import InvalidInput, Pointer

M = TypeVar("M", bound=Model)
T = TypeVar("T")
DEFAULT_LIMIT: Final = 50
MOST: Final = 200
MAX_CURSOR_LENGTH: Final = 4096
_MAC_BYTES: Final = 16
_PURPOSE: Final = b"paging-cursor-v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some rows of a list, and where the next ones begin ("" at the end)."""

    items: list[T]
    next_cursor: str


def page(
    queryset: QuerySet[M],
    *,
    order: Sequence[str],
    scope: str,
    cursor: str = "",
    limit: int = DEFAULT_LIMIT,
) -> Page[M]:
    """The page after `cursor`, at most `limit` rows.

    `order` names concrete columns without NULLs, `-` for descending, whose combination is unique.
    `scope` says whose list this is, filters included. Raises InvalidInput for a cursor that is
    not of this scope and order.
    """
    if values := opened(cursor, model=queryset.model, order=order, scope=scope):
        queryset = queryset.filter(_after(order, values))
    return cut(list(queryset.order_by(*order)[: limit + 1]), order=order, scope=scope, limit=limit)


def opened(cursor: str, *, model: type[Model], order: Sequence[str], scope: str) -> list[object]:
    """The values of the `order` columns in the last row before a page; none without a cursor.

    For lists that a statement of their own fetches; everybody else calls `page`.
    Raises InvalidInput for a cursor that is not of this scope and order.
    """
    if not cursor:
        return []
    return _values(model, order, _verified(cursor, _label(scope, order)))


def cut(rows: list[T], *, order: Sequence[str], scope: str, limit: int) -> Page[T]:
    """The page of at most `limit` + 1 rows in order: the one too many says that there are more."""
    if len(rows) <= limit:
        return Page(items=rows, next_cursor="")
    last = rows[limit - 1]
    position = [_plain(getattr(last, column.lstrip("-"))) for column in order]
    return Page(items=rows[:limit], next_cursor=_signed(position, _label(scope, order)))


def read_limit(text: str | None, *, default: int = DEFAULT_LIMIT, most: int = MOST) -> int:
    """The `limit` of a query string; raises InvalidInput outside 1..`most`."""
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise _wrong("limit", f"a whole number from 1 to {most}")
    return int(text)


def _after(columns: Sequence[str], values: Sequence[object]) -> Q:
    """Lexicographic "greater than"; the first conjunct lets PostgreSQL start inside the index."""
    first = columns[0].lstrip("-")
    bound = Q(**{f"{first}__{_operator(columns[0])}e": values[0]})
    condition = Q()
    for column, value in reversed(list(zip(columns, values, strict=True))):
        name = column.lstrip("-")
        beyond = Q(**{f"{name}__{_operator(column)}": value})
        condition = beyond | (Q(**{name: value}) & condition) if condition else beyond
    return bound & condition


def _operator(column: str) -> str:
    return "lt" if column.startswith("-") else "gt"


def _values(model: type[Model], columns: Sequence[str], position: list[str]) -> list[object]:
    fields = {field.attname: field for field in model._meta.concrete_fields}  # noqa: SLF001  (Django's public Meta API)
    return [
        fields[column.lstrip("-")].to_python(text)
        for column, text in zip(columns, position, strict=True)
    ]


def _plain(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | str | int):
        return str(value)
    raise TypeError(f"no list is ordered by {type(value).__name__}")


def _label(scope: str, columns: Sequence[str]) -> bytes:
    return "\n".join((scope, *columns)).encode()


def _signed(position: list[str], label: bytes) -> str:
    body = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_mac(body, label) + body).rstrip(b"=").decode()


def _verified(cursor: str, label: bytes) -> list[str]:
    if len(cursor) > MAX_CURSOR_LENGTH:
        raise _not_ours()
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _not_ours() from None
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(body, label)):
        raise _not_ours()
    return msgspec.json.decode(body, type=list[str])


def _mac(body: bytes, label: bytes) -> bytes:
    key = hmac.digest(settings.SECRET_KEY.encode(), _PURPOSE, "sha256")
    digest = hashlib.sha256(label).digest()
    return hmac.digest(key, digest + body, "sha256")[:_MAC_BYTES]


def _not_ours() -> InvalidInput:
    return _wrong("cursor", "not a cursor of this list; begin without one")


def _wrong(parameter: str, detail: str) -> InvalidInput:
    return InvalidInput(errors=[Pointer(pointer=f"/{parameter}", detail=detail)])
