"""`manage.py demo`: the main job, driven from outside as an IDE would drive it."""

from __future__ import annotations

import asyncio
import difflib
import io
import json
import os
import zipfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ideplatform.management.client import Client, Refused

SKIPPED = {".git", ".ide", "node_modules", "__pycache__", "staticfiles", "dist", "build"}
MAX_FILE_BYTES = 1_048_576
POLL_S = 0.1
DEFAULT_FILE = "ideplatform/kit/clock.py"


class Command(BaseCommand):
    help = "Import a project, ask the coder for a change, show the stream, the diff and the cost."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--url", default=settings.ENV.public_url, help="the running platform")
        add("--path", type=Path, default=settings.BASE_DIR, help="folder to import")
        add("--file", default="", help="file to be changed, relative to the folder")
        add("--prompt", default="", help="what to ask; default: a comment at the top of the file")
        add("--agent", default="coder")
        add("--email", default="", help="default: the demo user of this data directory")
        add("--password", default="", help="or DEMO_PASSWORD in the environment")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(self._demo(options))
        except Refused as refused:
            raise CommandError(f"the platform refused: {refused}") from None
        except OSError:
            raise CommandError(
                f"nothing answers at {options['url']}: start it with `make run`"
            ) from None

    async def _demo(self, options: dict[str, Any]) -> None:
        folder: Path = options["path"].resolve()
        file = options["file"] or _default_file(folder)
        prompt = options["prompt"] or f"Add a comment at the top of `{file}` that says its purpose."
        async with Client(options["url"]) as client:
            await client.sign_in(*_sign_in(options))
            workspace = await client.call("POST", "/workspaces", {"name": f"Demo: {folder.name}"})
            files = f"/workspaces/{workspace['id']}/files"
            await self._import(client, files, folder)
            before = await client.call("GET", f"{files}/content", query={"path": file})
            self.stdout.write(f"\n{prompt}\n")
            await self._stream(client, workspace["id"], prompt, options["agent"])
            after = await client.call("GET", f"{files}/content", query={"path": file})
            self._diff(before, after, file)

    async def _import(self, client: Client, files: str, folder: Path) -> None:
        archive = await asyncio.to_thread(_zip, folder)
        job = await client.call(
            "POST", f"{files}/import", raw=archive, content_type="application/zip"
        )
        while job["state"] not in {"done", "failed"}:
            await asyncio.sleep(POLL_S)
            job = await client.call("GET", f"{files}/import/{job['id']}")
        if job["state"] == "failed":
            raise Refused(job["problem"])
        self.stdout.write(f"imported {job['files_written']} files from {folder}")

    async def _stream(self, client: Client, workspace_id: str, prompt: str, agent: str) -> None:
        start = {
            "request_id": str(uuid4()),
            "workspace_id": workspace_id,
            "agent_id": agent,
            "prompt": prompt,
        }
        async for frame in client.run(start):
            match frame["type"]:
                case "delta":
                    self.stdout.write(frame["content"], ending="")
                    self.stdout.flush()
                case "tool_call":
                    self.stdout.write(self.style.NOTICE(f"\n→ {frame['tool']}"))
                case "complete":
                    metadata = frame["metadata"]
                    self.stdout.write(
                        f"\n\n{metadata['total_tokens']} tokens, {metadata['cost']} USD"
                    )
                case "error":
                    raise Refused(frame["problem"])

    def _diff(self, before: dict[str, Any], after: dict[str, Any], file: str) -> None:
        for line in difflib.unified_diff(
            before["content"].splitlines(),
            after["content"].splitlines(),
            f"{file} v{before['version']}",
            f"{file} v{after['version']}",
            lineterm="",
        ):
            style = {"+": self.style.SUCCESS, "-": self.style.ERROR}.get(line[:1], str)
            self.stdout.write(style(line))


def _sign_in(options: dict[str, Any]) -> tuple[str, str]:
    if options["email"]:
        return options["email"], options["password"] or os.environ.get("DEMO_PASSWORD", "")
    try:
        known = json.loads((settings.ENV.data_dir / "demo.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CommandError("no demo user in this data directory: give --email") from None
    return known["users"][0]["email"], known["users"][0]["password"]


def _default_file(folder: Path) -> str:
    if (folder / DEFAULT_FILE).is_file():
        return DEFAULT_FILE
    found = next((path for path in _files(folder) if path.suffix in {".py", ".md", ".ts"}), None)
    if found is None:
        raise CommandError("say which file is to be changed: --file")
    return found.relative_to(folder).as_posix()


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and not any(
            part in SKIPPED or part.startswith(".venv") for part in path.relative_to(folder).parts
        )
        and path.stat().st_size <= MAX_FILE_BYTES
    ]


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(folder):
            archive.write(path, path.relative_to(folder).as_posix())
    return buffer.getvalue()
