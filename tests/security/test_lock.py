"""A lock that was tampered with is found out: the test of R4's own test."""

from __future__ import annotations

import pytest

from tests.security import lock

HASH = "sha256:" + "a" * 64
PROJECT = """
[project]
name = "site"
dependencies = ["First.Part[fast]>=1,<2"]
[dependency-groups]
dev = ["tool"]
"""
INDEX = """
[[tool.uv.index]]
url = "https://index.test/simple"
"""
LOCK = f"""
[[package]]
name = "site"
version = "0.1"
source = {{ virtual = "." }}
dependencies = [{{ name = "first-part", extra = ["fast"] }}]
[package.dev-dependencies]
dev = [{{ name = "tool" }}]
[package.metadata]
requires-dist = [{{ name = "first-part", extras = ["fast"], specifier = ">=1,<2" }}]
[package.metadata.requires-dev]
dev = [{{ name = "tool" }}]

[[package]]
name = "first-part"
version = "1.5"
source = {{ registry = "https://index.test/simple" }}
sdist = {{ url = "https://files.test/p/first_part-1.5.tar.gz", hash = "{HASH}" }}
wheels = [
    {{ url = "https://files.test/p/first_part-1.5-py3-none-any.whl", hash = "{HASH}" }},
]
[package.optional-dependencies]
fast = [{{ name = "tool" }}]

[[package]]
name = "tool"
version = "2"
source = {{ registry = "https://index.test/simple" }}
wheels = [{{ url = "https://files.test/p/tool-2-py3-none-any.whl", hash = "{HASH}" }}]
"""
STRANGER = f"""
[[package]]
name = "stranger"
version = "1"
source = {{ registry = "https://index.test/simple" }}
wheels = [{{ url = "https://files.test/p/stranger-1-py3-none-any.whl", hash = "{HASH}" }}]
"""


@pytest.mark.parametrize("project", [PROJECT, PROJECT + INDEX])
def test_an_honest_lock_has_no_fault(project):
    assert lock.faults(LOCK, project) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("files.test/p/tool", "mirror.test/p/tool", "files come from"),
        ("https://files.test", "http://files.test", "files come from"),
        (f', hash = "{HASH}" }},\n]', " },\n]", "has no sha256"),
        (HASH, "md5:" + "a" * 32, "has no sha256"),
        (HASH, "sha256:" + "a" * 63, "has no sha256"),
        ("tool-2-py3", "tool-2.1-py3", "is no file of tool 2"),
        ("tool-2-py3", "tooi-2-py3", "is no file of tool 2"),
        (
            'version = "2"\nsource = { registry = "https://index.test/simple" }',
            'version = "2"\nsource = { git = "https://code.test/tool?rev=main#abc" }',
            "tool comes from",
        ),
        (
            'version = "2"\nsource = { registry = "https://index.test/simple" }',
            'version = "2"\nsource = { registry = "https://other.test/simple" }',
            "several indexes",
        ),
        ("https://index.test", "http://index.test", "is not https"),
        ('wheels = [{ url = "https://files.test/p/tool', '# { url = "', "tool has no file"),
        ('specifier = ">=1,<2"', 'specifier = ">=1"', "other requirements of project"),
        ('extras = ["fast"], ', "", "other requirements of project"),
        ('dev = [{ name = "tool" }]\n\n', "dev = []\n\n", "other requirements of dev"),
        ('{ virtual = "." }', '{ directory = "../site" }', "the project is locked 0 times"),
        ('hash = "sha256:' + "a" * 64 + '" }]\n', f'hash = "{HASH}" }}]\n{STRANGER}', "stranger"),
    ],
)
def test_a_tampered_lock_is_told(before, after, fault):
    assert before in LOCK
    found = lock.faults(LOCK.replace(before, after), PROJECT)
    assert any(fault in line for line in found), found


def test_a_lock_of_another_index_than_the_declared_one_is_told():
    moved = LOCK.replace("index.test", "other.test").replace("files.test", "cdn.test")
    assert lock.faults(moved, PROJECT) == []  # whoever installs chose it, and nothing is mixed
    (fault,) = lock.faults(moved, PROJECT + INDEX)
    assert fault.startswith("the project declares")
