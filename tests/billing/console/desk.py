"""A browser at the console: Django's test client, signed in as an operator."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.models import Group
from django.test import Client, RequestFactory

from accounts.models import User
from tests import factories
from tests.accounts.rest import PASSWORD, an_ip


class Desk:
    """One operator's browser."""

    def __init__(self, *groups: str, **columns: Any) -> None:
        self.user: User = factories.a_user(is_staff=True, **columns)
        self.user.groups.set(Group.objects.filter(name__in=groups))
        self.client = Client()
        request = RequestFactory(REMOTE_ADDR=an_ip()).get("/")
        assert self.client.login(request=request, username=self.user.email, password=PASSWORD)

    def get(self, path: str) -> Any:
        return self.client.get(f"/admin/billing/{path}")

    def post(self, path: str, **fields: Any) -> Any:
        return self.client.post(f"/admin/billing/{path}", fields)

    def read(self, path: str) -> str:
        """The text of a page that must be there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.status_code
        return str(answer.content.decode())

    def dialog(self, customer: Any, name: str, **fields: Any) -> Any:
        """A dialog from its opening to its last button."""
        path = f"customer/{customer.pk}/dialog/{name}/"
        token = hidden(self.read(path), "token")
        return self.post(path, **({"token": token, "reason": "Outage", "confirm": "1"} | fields))

    def approve(self, request_id: Any, **fields: Any) -> Any:
        """Approve what the page shows."""
        page = self.read(f"approvalrequest/{request_id}/change/")
        seen = {"payload_hash": hidden(page, "payload_hash"), "password": PASSWORD}
        return self.post(f"approvalrequest/{request_id}/approve/", **(seen | fields))


def hidden(page: str, name: str) -> str:
    """The value of a hidden field, "" where the page has none."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    return found[1] if found else ""


def asked(answer: Any) -> str:
    """The id of the request that a dialog led to."""
    assert answer.status_code == 302, answer.status_code
    return str(re.search(r"approvalrequest/([0-9a-f-]{36})/change", answer["Location"])[1])  # type: ignore[index]
