"""A browser without scripts, for tests of pages."""

from __future__ import annotations

import re

from django.test import Client

from tests.accounts.rest import PASSWORD, an_ip

LOGIN = "/account/login"


class Browser(Client):
    """A visitor that keeps cookies, sends forms as a page does, and has its own address."""

    def __init__(self) -> None:
        super().__init__(enforce_csrf_checks=True, REMOTE_ADDR=an_ip())

    def submit(self, page: str, action: str, **fields: str):
        """Load a page, fill a form of it in and send it."""
        shown = self.get(page)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', shown.content.decode())
        assert token is not None
        return self.post(action, {"csrfmiddlewaretoken": token[1]} | fields)

    def sign_in(self, email: str, password: str = PASSWORD, **fields: str):
        return self.submit(LOGIN, LOGIN, email=email, password=password, **fields)
