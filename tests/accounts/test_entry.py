"""Signing up, in and out over REST."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db
PASSWORD = "a long enough phrase"


def post(path: str, body: object, **headers: str):
    return Client(headers=headers).post(
        f"/api/v1/auth/{path}", body, content_type="application/json"
    )


def registered(email: str = "ana@example.test") -> dict:
    answer = post("register", {"email": email, "password": PASSWORD, "full_name": "Ana"})
    assert answer.status_code == 201, answer.content
    return answer.json()


def bearer(pair: dict) -> dict[str, str]:
    return {"Authorization": f"Bearer {pair['access']}"}


def test_whoever_registers_is_signed_in():
    pair = registered()
    answer = Client(headers=bearer(pair)).get("/api/v1/auth/me")
    assert answer.status_code == 200
    assert answer.json()["email"] == "ana@example.test"
    assert answer.json()["organizations"][0]["kind"] == "personal"
