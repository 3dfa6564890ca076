"""What is wrong with a lock of the project's dependencies, told without asking any index.

That the lock is what the index would resolve today is `make lock-check`, the gate's first stage.
Which index that is, the project may declare (`[[tool.uv.index]]`); where it does not, whoever
installs chooses it, and the lock must hold to one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

Table = dict[str, Any]
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


def faults(lock: str, project: str) -> list[str]:
    """One line for each fault of a uv.lock beside its pyproject.toml; both are texts."""
    locked: list[Table] = tomllib.loads(lock)["package"]
    declared: Table = tomllib.loads(project)
    others = [package for package in locked if not _is_of(package, declared)]
    ours = [package for package in locked if _is_of(package, declared)]
    return [
        *([] if len(ours) == 1 else [f"the project is locked {len(ours)} times"]),
        *_faults_of_sources(others, declared),
        *(fault for package in others for fault in _faults_of_files(package)),
        *_faults_of_hosts(files_of(others)),
        *(fault for project_ in ours for fault in _faults_of_requirements(project_, declared)),
        *(f"nothing asks for {name}" for name in sorted(_names(locked) - _reached(ours, locked))),
    ]


def files_of(packages: Iterable[Table]) -> list[Table]:
    return [
        file
        for package in packages
        for file in [*package.get("wheels", ()), *filter(None, [package.get("sdist")])]
    ]


def _is_of(package: Table, declared: Table) -> bool:
    named = package["name"] == declared["project"]["name"]
    return named and package["source"] in ({"virtual": "."}, {"editable": "."})


def _faults_of_sources(packages: list[Table], declared: Table) -> Iterator[str]:
    for package in packages:
        if package["source"].keys() != {"registry"}:
            yield f"{package['name']} comes from {package['source']}"
    found = {package["source"].get("registry", "") for package in packages} - {""}
    trusted = {index["url"] for index in declared.get("tool", {}).get("uv", {}).get("index", ())}
    if trusted and found != trusted:
        yield f"the project declares {sorted(trusted)}, the lock has {sorted(found)}"
    if not trusted and len(found) != 1:
        yield f"several indexes: {sorted(found)}"
    yield from (f"{url} is not https" for url in found if urlsplit(url).scheme != "https")


def _faults_of_files(package: Table) -> Iterator[str]:
    files = files_of([package])
    if not files:
        yield f"{package['name']} has no file"
    for file in files:
        if not _SHA256.fullmatch(file.get("hash", "")):
            yield f"{file['url']} has no sha256"
        if _named_by(file["url"]) != (package["name"], Version(package["version"])):
            yield f"{file['url']} is no file of {package['name']} {package['version']}"


def _named_by(url: str) -> tuple[str, Version]:
    name = urlsplit(url).path.rpartition("/")[2]
    if name.endswith(".whl"):
        return parse_wheel_filename(name)[:2]
    return parse_sdist_filename(name)


def _faults_of_hosts(files: list[Table]) -> Iterator[str]:
    places = {urlsplit(file["url"])[:2] for file in files}
    if len(places) != 1 or not all(scheme == "https" for scheme, _ in places):
        yield f"files come from {sorted(places)}"


def _faults_of_requirements(project: Table, declared: Table) -> Iterator[str]:
    """What the project asks for, markers aside, is what the lock was made for."""
    kept = project["metadata"]
    sides = {"project": (declared["project"]["dependencies"], kept["requires-dist"])}
    for group, wanted in declared.get("dependency-groups", {}).items():
        sides[group] = (wanted, kept.get("requires-dev", {}).get(group, []))
    for name, (wanted, locked) in sides.items():
        if {_asked(text) for text in wanted} != {_kept(entry) for entry in locked}:
            yield f"the lock was made for other requirements of {name}"


Wanted = tuple[str, frozenset[str], SpecifierSet]


def _asked(text: str) -> Wanted:
    requirement = Requirement(text)
    name = canonicalize_name(requirement.name)
    return name, frozenset(requirement.extras), requirement.specifier


def _kept(entry: Table) -> Wanted:
    specifier = SpecifierSet(entry.get("specifier", ""))
    return entry["name"], frozenset(entry.get("extras", ())), specifier


def _names(packages: Iterable[Table]) -> set[str]:
    return {package["name"] for package in packages}


def _reached(roots: list[Table], packages: list[Table]) -> set[str]:
    """The names of everything that the project needs, directly or not."""
    needs: dict[str, set[str]] = {}
    for package in packages:
        needs.setdefault(package["name"], set()).update(_needed_by(package))
    found: set[str] = set()
    waiting = _names(roots)
    while waiting:
        found |= waiting
        waiting = {need for name in waiting for need in needs.get(name, ())} - found
    return found


def _needed_by(package: Table) -> Iterator[str]:
    groups = (
        *package.get("optional-dependencies", {}).values(),
        *package.get("dev-dependencies", {}).values(),
    )
    for needs in (package.get("dependencies", []), *groups):
        yield from (need["name"] for need in needs)
