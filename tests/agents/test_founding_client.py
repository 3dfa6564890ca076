"""The client of the founding document works unmodified, with a token of any accepted kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accounts.services import api_keys, sessions
from accounts.types import Scope
from tests.agents.builders import Desk, a_desk
from tests.agents.clients import an_access_token
from tests.clients import node

HERE = Path(__file__).parents[1] / "clients"
FOUNDING_ADDRESS = "ws://localhost:8000"


@pytest.fixture
def client(tmp_path: Path, inline, live_web) -> Path:
    """The client with its address turned to this server; nothing else of it changes."""
    text = (HERE / "founding_client.ts").read_text(encoding="utf-8")
    assert text.count(FOUNDING_ADDRESS) == 1
    script = tmp_path / "client.ts"
    script.write_text(
        text.replace(FOUNDING_ADDRESS, live_web.ws_url)
        + (HERE / "founding_driver.ts").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
    return script


def asked(client: Path, **request: Any) -> list[dict[str, Any]]:
    """What the client's callbacks got."""
    messages = [{"role": "user", "content": "one two three"}]
    return node.run(client, json.dumps({"messages": messages} | request))


def an_api_key(desk: Desk) -> str:
    session = sessions.sign_in(user=desk.user, ip="127.0.0.1", user_agent="test")
    _, secret = api_keys.create(
        actor=replace(desk.actor, session_id=session.session_id),
        name="IDE",
        scopes=[Scope.AGENTS_RUN],
        organization_id=desk.workspace.organization_id,
    )
    return secret.reveal()


def an_access_token_of(desk: Desk) -> str:
    return an_access_token(desk.user)


@pytest.mark.parametrize("credential", [an_access_token_of, an_api_key])
def test_the_answer_streams_to_its_end(client, credential):
    desk = a_desk()
    lines = asked(
        client,
        token=credential(desk),
        workspace_id=str(desk.workspace.pk),
        agent_id="universal",
    )
    *deltas, end = lines
    assert "one two three" in "".join(line["content"] for line in deltas)
    assert end["metadata"]["total_tokens"] > 0
    assert float(end["metadata"]["cost"]) > 0


def test_a_refusal_reaches_its_error_callback_without_inner_text(client):
    desk = a_desk()
    lines = asked(client, token="not a token", workspace_id=str(desk.workspace.pk))
    assert lines == [{"error": "Sign in or send a valid credential"}]
