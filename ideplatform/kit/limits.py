"""How many REST requests a user may send: reads, writes, and what a view names itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from ideplatform.kit import throttle
from ideplatform.kit.throttle import Limit

if TYPE_CHECKING:  # the module of views loads this one for its defaults
    from rest_framework.views import APIView

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestLimit(BaseThrottle):
    """Counts each authenticated request; a view's `limits = {"GET": throttle.SEARCH}` add theirs.

    Raises TooManyRequests 429. Public views limit by address in their services.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        user_id = getattr(request.user, "user_id", None)
        if isinstance(user_id, UUID):
            limits = [throttle.READ if request.method in _SAFE else throttle.WRITE]
            own: Mapping[str, Limit] = getattr(view, "limits", {})
            if str(request.method) in own:
                limits.append(own[str(request.method)])
            throttle.take(*(throttle.of_user(limit, user_id) for limit in limits))
        return True
