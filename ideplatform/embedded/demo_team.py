"""``DATA_DIR/demo.json``: who the demo team's users are, made once per database."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ideplatform.embedded import private_files

FILE_NAME = "demo.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A demo user. The password is random, known here (0600) and to whoever saw it printed."""

    email: str
    password: str


def known(data_dir: Path, database: str) -> list[SignIn] | None:
    """The users made in ``database`` by an earlier start, None when there was none."""
    try:
        text = (data_dir / FILE_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    found = json.loads(text)
    return _users(found) if found.get("database") == database else None


def remember(data_dir: Path, database: str, answer: str) -> list[SignIn]:
    """Keep what ``seed_demo --json`` answered; the users it made, none if it made none.

    Its answer is ``{"users": [{"email", "password"}, ...], ...}``.
    """
    found = json.loads(answer) if answer.strip() else {}
    kept = {**found, "database": database}
    private_files.write(data_dir / FILE_NAME, json.dumps(kept, indent=1) + "\n")
    return _users(found)


def name_of(database_url: str | None) -> str:
    """Which database that is, without its password; None stands for the embedded one."""
    if database_url is None:
        return "embedded"
    place = urlsplit(database_url)
    text = f"{place.hostname}:{place.port}{place.path}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _users(found: dict[str, list[dict[str, str]]]) -> list[SignIn]:
    users = found.get("users", [])
    return [SignIn(email=user["email"], password=user["password"]) for user in users]
