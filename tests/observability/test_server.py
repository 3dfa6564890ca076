"""Probes and scrapes on a port of their own."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest

from ideplatform.observability import health, server


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert server.start(host="127.0.0.1", port=port) == port
    return f"http://127.0.0.1:{port}"


def test_metrics_are_prometheus_text(address):
    with urllib.request.urlopen(address + "/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert b"agent_requests_total" in answer.read()


def test_health_names_a_loop_that_stands_still(address):
    with urllib.request.urlopen(address + "/health") as answer:
        assert json.load(answer) == {"status": "ok"}
    health.moved("stuck", within_s=-1)
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address + "/health")
    finally:
        health.forget("stuck")
    assert refused.value.code == 503
    assert json.load(refused.value) == {"status": "stalled", "failing": ["stuck"]}


def test_nothing_else_is_served(address):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address + "/api/v1/agents")
    assert refused.value.code == 404


def test_a_taken_port_does_not_keep_a_process_from_working():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert server.start(host="127.0.0.1", port=taken.getsockname()[1]) == 0


def test_no_port_means_no_server():
    assert server.start(host="127.0.0.1", port=0) == 0
