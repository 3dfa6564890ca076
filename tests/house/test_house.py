"""The rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import importlib
import re

import pytest

from tests.house import source

MAX_LINES = 400


@pytest.mark.parametrize("app", source.APPS)
def test_every_app_has_its_card(app):
    card = importlib.import_module(app).__doc__ or ""
    assert re.search(r"^Owns: .+", card, re.MULTILINE)
    assert re.search(r"^Never does: .+", card, re.MULTILINE)
    assert re.search(r"^Walk: .+", card, re.MULTILINE)


def test_files_stay_readable_in_one_sitting():
    long = {
        source.name(path): lines
        for path in source.files()
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_edges_reach_rows_through_selectors_and_services_only():
    edges = [
        path
        for path in source.files(*source.APPS)
        if {"api", "web"} & set(path.parts) or path.name in {"consumers.py", "tasks.py"}
    ]
    found = [
        f"{source.name(path)}:{node.lineno}"
        for path in edges
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"objects", "_default_manager"}
    ]
    assert found == []


def test_money_is_never_a_float():
    found = [
        f"{source.name(path)}:{node.lineno}"
        for path in source.files("billing")
        for node in ast.walk(source.tree(path))
        if (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]
    assert found == []


def test_services_never_import_tasks():
    found = [
        source.name(path)
        for path in source.files(*source.APPS)
        if "services" in path.parts
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("tasks")
    ]
    assert found == []


def test_exception_text_never_becomes_an_answer():
    """`str(exc)` of a caught exception must not reach a client; logging uses exc_info."""
    found = [
        f"{source.name(path)}:{call.lineno}"
        for path in source.files()
        for handler in ast.walk(source.tree(path))
        if isinstance(handler, ast.ExceptHandler) and handler.name
        for call in ast.walk(handler)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in {"str", "repr"}
        and any(isinstance(arg, ast.Name) and arg.id == handler.name for arg in call.args)
    ]
    assert found == []


def test_advisory_locks_are_of_the_transaction():
    """A pooled connection would carry a session lock to a stranger."""
    pattern = re.compile(r"pg_(try_)?advisory_lock\b")
    found = [source.name(p) for p in source.files() if pattern.search(p.read_text())]
    assert found == []


def test_models_do_nothing_on_save():
    found = [
        f"{source.name(path)}:{node.lineno}"
        for path in source.files()
        if path.name == "models.py"
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.FunctionDef) and node.name in {"save", "delete", "clean"}
    ]
    assert found == []


def test_no_unowned_promises():
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [source.name(p) for p in source.files(migrations=True) if words.search(p.read_text())]
    assert found == []
