"""Every way in declares what it asks for; the suite's end checks that each met allow and deny."""

from __future__ import annotations

import pytest

from accounts.types import Permission
from ideplatform.kit import accounting
from ideplatform.kit.accounting import Declaration
from tests.house import entries

ENTRIES = entries.every()


@pytest.mark.parametrize("where", ENTRIES)
def test_an_entry_declares_a_permission_or_why_it_is_public(where):
    assert ENTRIES[where] is not None


@pytest.mark.parametrize("where", [w for w, d in ENTRIES.items() if d and d.permission])
def test_a_declared_permission_exists(where):
    declaration = ENTRIES[where]
    assert declaration is not None
    assert declaration.permission in set(Permission)


def test_every_public_page_is_still_a_page():
    assert {f"GET {route}" for route in entries.PUBLIC} <= ENTRIES.keys()


@pytest.mark.parametrize(
    ("reports", "faults"),
    [
        (
            set(),
            ["GET x: never met one allow of file.read", "GET x: never met one deny of file.read"],
        ),
        ({("GET x", "file.read", "allow")}, ["GET x: never met one deny of file.read"]),
        (
            {("GET x", "file.write", "deny"), ("GET y", "file.read", "deny")}
            | {("GET x", "file.read", "allow")},
            ["GET x: never met one deny of file.read"],
        ),
        ({("GET x", "file.read", "allow"), ("GET x", "file.read", "deny")}, []),
    ],
)
def test_a_route_without_its_assertions_is_found(reports, faults):
    declared = {"GET x": Declaration(permission=Permission.FILE_READ)}
    assert entries.unmet(declared, reports) == faults


def test_an_undeclared_entry_is_found_and_a_public_one_needs_no_assertion():
    declared = {"GET x": None, "GET y": Declaration(public="for all")}
    assert entries.unmet(declared, set()) == [
        "GET x: declares neither a permission nor a reason to be public"
    ]


@pytest.mark.parametrize("given", [{}, {"permission": "file.read", "public": "both"}])
def test_a_declaration_says_exactly_one_of_the_two(given):
    with pytest.raises(ValueError, match="permission or a reason"):
        Declaration(**given)


def test_reports_carry_the_entry_they_were_made_for():
    heard: list[tuple[str, str, str]] = []
    end = accounting.listen(lambda *report: heard.append(report))
    with accounting.at("frame outer"):
        with accounting.at("frame inner"):
            accounting.record("file.read", "deny")
        accounting.record("file.read", "allow")
    end()
    accounting.record("file.read", "allow")
    assert heard == [
        ("frame inner", "file.read", "deny"),
        ("frame outer", "file.read", "allow"),
    ]
