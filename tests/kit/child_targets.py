"""Functions that the tests of `kit.children` run in a child."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path


def echo(body: bytes) -> bytes:
    sys.stdout.write("a library that prints")
    return body


def environment(_body: bytes) -> bytes:
    """What the child has: variables, limits, interfaces, directory."""
    interfaces = [name for _, name in socket.if_nameindex()]
    limits = {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
        for name in ("AS", "CPU", "NOFILE", "FSIZE", "CORE")
    }
    answer = {
        "variables": sorted(os.environ),
        "interfaces": interfaces,
        "limits": limits,
        "cwd": str(Path.cwd()),
        "isolated": sys.flags.isolated,
        "leader": os.getsid(0) == os.getpid(),
    }
    return json.dumps(answer).encode()


def spin(_body: bytes) -> bytes:
    while True:
        pass


def wait(body: bytes) -> bytes:
    Path(body.decode()).read_bytes()  # a FIFO that nobody writes
    return b""


def grow(_body: bytes) -> bytes:
    return b"x" * (1024 * 1024 * 1024)


def pour(_body: bytes) -> bytes:
    return b"x" * 5_000_001


def fail(_body: bytes) -> bytes:
    raise ValueError("the secret input")


def panic(_body: bytes) -> bytes:
    raise BaseException("as a Rust panic does")


def crash(_body: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def not_bytes(_body: bytes) -> dict[str, str]:
    return {"no": "bytes"}


def closed(body: bytes) -> bytes:
    """Try one thing that is closed to a child; say how it ended."""
    attempts = {
        "socket": lambda: socket.socket(),
        "resolve": lambda: socket.getaddrinfo("localhost", 80),
        "popen": lambda: subprocess.Popen(["/bin/true"]),
        "system": lambda: os.system("true"),
        "fork": lambda: os.fork(),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    }
    try:
        attempts[body.decode()]()
    except PermissionError as refused:
        return str(refused).encode()
    return b"open"


def write_file(body: bytes) -> bytes:
    """Writing to a disk is bounded at nothing; the signal of that limit is ignored to see it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        Path(body.decode()).write_bytes(b"x")
    except OSError as refused:
        return str(refused.errno).encode()
    return b"open"


def connect_raw(body: bytes) -> bytes:
    """Connect past Python's audit hooks, by libc; the answer is errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    address = (
        socket.AF_INET.to_bytes(2, sys.byteorder)
        + int(body).to_bytes(2)
        + bytes([127, 0, 0, 1])
        + bytes(8)
    )
    result = libc.connect(descriptor, address, len(address))
    return str(ctypes.get_errno() if result else 0).encode()
