"""Files of others that lie in the repository are exactly what their makers published."""

from __future__ import annotations

import hashlib

import pytest

from tests.house import source

VENDOR = source.ROOT / "static" / "vendor"
# From the packages htmx.org 4.0.1 and uplot 1.6.32 of the npm registry.
SHA256 = {
    "htmx-4.0.1.LICENSE": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
    "htmx-4.0.1.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "uplot-1.6.32.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
    "uplot-1.6.32.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uplot-1.6.32.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def test_nothing_else_lies_there():
    assert {path.name for path in VENDOR.iterdir()} == SHA256.keys()


@pytest.mark.parametrize("name", SHA256)
def test_a_file_is_unchanged(name):
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == SHA256[name]


@pytest.mark.parametrize("name", [name for name in SHA256 if not name.endswith("LICENSE")])
def test_a_file_has_its_licence_beside_it(name):
    program = name.split(".iife")[0].split(".min")[0]
    text = (VENDOR / f"{program}.LICENSE").read_text(encoding="utf-8")
    assert "Permission" in text
