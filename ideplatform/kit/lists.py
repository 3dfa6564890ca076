"""REST lists: one page of rows as a request asks for it, and where the next one begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from ideplatform.kit import paging
from ideplatform.kit.paging import Page

M = TypeVar("M", bound=Model)
T = TypeVar("T")
Shown = Callable[[T], dict[str, object]]


def asked(request: Request, queryset: QuerySet[M], *, order: Sequence[str], scope: str) -> Page[M]:
    """The page that the query's `cursor` and `limit` name; `order` and `scope` as for paging.

    Raises InvalidInput.
    """
    cursor, limit = place(request)
    return paging.page(queryset, order=order, scope=scope, cursor=cursor, limit=limit)


def place(request: Request) -> tuple[str, int]:
    """The `cursor` and the `limit` that the query names; raises InvalidInput."""
    query = request.query_params
    return query.get("cursor", ""), paging.read_limit(query.get("limit"))


def answer(page: Page[T], shown: Shown[T]) -> Response:
    """A page, each row as `shown` renders it."""
    items = [shown(row) for row in page.items]
    return Response({"items": items, "next_cursor": page.next_cursor})
