"""Ports that stay the same while they can, and errors that name the one that is taken."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from ideplatform.embedded import ports


def test_a_free_port_lies_outside_the_range_of_outgoing_connections():
    low, _high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert all(ports.free_port() < int(low) for _ in range(50))


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ports.PortTaken, match=f"port {port} on 127.0.0.1 is already in use"):
            ports.listen("127.0.0.1", port)


def test_a_part_keeps_its_port_over_restarts(tmp_path: Path):
    path = tmp_path / "ports.json"
    first = ports.PortBook(path).port("redis")
    assert ports.PortBook(path).port("redis") == first


def test_a_remembered_port_that_is_taken_is_given_up(tmp_path: Path):
    path = tmp_path / "ports.json"
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        port = taken.getsockname()[1]
        path.write_text(json.dumps({"redis": port}))
        book = ports.PortBook(path)
        assert book.port("redis") != port
        assert ports.PortBook(path).port("redis") == book.port("redis")


def test_two_parts_never_share_a_port(tmp_path: Path):
    path = tmp_path / "ports.json"
    path.write_text(json.dumps({"a": 20_100, "b": 20_100}))
    book = ports.PortBook(path)
    assert book.port("a") != book.port("b")
