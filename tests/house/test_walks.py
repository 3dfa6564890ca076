"""`docs/walks.md` names real functions, and its links lead somewhere."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.house import source

WALKS = (source.ROOT / "docs" / "walks.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"\[`([a-z_]+(?:\.\w+)+)`\]", WALKS)))
LINKS = sorted(set(re.findall(r"\]\(\.\./([^)#]+)", WALKS)))


def _resolve(dotted: str) -> object:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("dotted", NAMES)
def test_a_named_function_exists(dotted):
    assert callable(_resolve(dotted))


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_to_a_file(link):
    assert (source.ROOT / link).exists()


def test_the_walks_are_not_empty():
    assert len(NAMES) >= 9
