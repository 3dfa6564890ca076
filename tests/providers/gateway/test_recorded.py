"""What real clients send is answered as it was when they sent it, by every type of provider.

`make clients` keeps these requests when it runs the clients themselves.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients import answers, recordings
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door
from tests.waiting import eventually

VENDORS = ("openai", "anthropic", "google", "openai_compatible")
FILES = sorted(recordings.PLACE.glob("*.jsonl"))


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_client_gets_the_same_tool_calls(door: Door, file, vendor: str):
    account = a_provider(vendor, slug=f"recorded-{vendor.replace('_', '-')}")
    model = f"{account.slug}/sim-coder"
    charged = 0
    for line in recordings.read(file):
        body = None if line["body"] is None else _for(line["body"], model)
        target = recordings.target(line, model)
        headers = {**line["headers"], "authorization": f"Bearer {door.key}"}
        reply = door.send(line["method"], target, body, headers=headers)
        assert (target, reply.status) == (target, line["status"]), reply.body[:500]
        media = reply.headers.get("content-type", "").partition(";")[0]
        calls = answers.calls(target, media, reply.body)
        assert json.loads(json.dumps(calls)) == line["calls"]
        charged += "messages/count_tokens" not in target and line["method"] == "POST"
    eventually(lambda: len(door.events()) == charged)
    assert all(event.accuracy == "exact" for event in door.events())


def _for(body: dict[str, Any], model: str) -> dict[str, Any]:
    return body | {"model": model}
