"""The tool calls in an answer of any of the three dialects, streamed or whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Call = tuple[str, Any]
"""A tool's name, and its arguments parsed."""


def calls(target: str, media: str, body: bytes) -> list[Call]:
    """What the answer to a request of this path asks the client to run."""
    path = target.partition("?")[0]
    events = list(_events(body)) if media == "text/event-stream" else None
    if path.endswith("/chat/completions"):
        return _chat(events if events is not None else [json.loads(body)])
    if path.endswith("/messages"):
        return _messages_stream(events) if events is not None else _messages(json.loads(body))
    if path.endswith("/responses"):
        whole = events[-1]["response"] if events is not None else json.loads(body)
        return _responses(whole)
    return []


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.decode().splitlines():
        if line.startswith("data:") and line.strip() != "data: [DONE]":
            yield json.loads(line.removeprefix("data:"))


def _chat(events: list[dict[str, Any]]) -> list[Call]:
    found: dict[int, list[str]] = {}
    for event in events:
        for choice in event["choices"]:
            said = choice.get("delta") or choice.get("message") or {}
            for place, call in enumerate(said.get("tool_calls") or ()):
                words = found.setdefault(call.get("index", place), ["", ""])
                words[0] += call["function"].get("name") or ""
                words[1] += call["function"].get("arguments") or ""
    return [(name, json.loads(arguments)) for name, arguments in found.values()]


def _messages(message: dict[str, Any]) -> list[Call]:
    return [(one["name"], one["input"]) for one in message["content"] if one["type"] == "tool_use"]


def _messages_stream(events: list[dict[str, Any]]) -> list[Call]:
    found: dict[int, list[str]] = {}
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            found[event["index"]] = [event["content_block"]["name"], ""]
        elif event["type"] == "content_block_delta" and event["index"] in found:
            found[event["index"]][1] += event["delta"].get("partial_json", "")
    return [(name, json.loads(arguments or "{}")) for name, arguments in found.values()]


def _responses(whole: dict[str, Any]) -> list[Call]:
    return [
        (item["name"], json.loads(item["arguments"]))
        for item in whole["output"]
        if item["type"] == "function_call"
    ]
