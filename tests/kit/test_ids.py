"""Identifiers sort by time, read well, and refuse what they are not."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideplatform.kit import ids
from ideplatform.kit.errors import NotFound


def test_new_ids_are_version_7_and_ordered():
    made = [ids.new() for _ in range(1000)]
    assert {i.version for i in made} == {7}
    assert made == sorted(made)
    assert len(set(made)) == 1000


def test_the_earliest_id_of_a_moment_stands_between_those_before_and_after():
    before = ids.new()
    moment = datetime.now(UTC) + timedelta(hours=1)
    earliest = ids.earliest(moment)
    assert before < earliest < ids.earliest(moment + timedelta(milliseconds=1))
    assert (earliest.version, earliest.variant) == (7, RFC_4122)
    assert ids.earliest(datetime.now(UTC) - timedelta(seconds=1)) < ids.new()


@given(st.uuids())
def test_the_public_form_comes_back(value):
    text = ids.public("prv", value)
    assert len(text) == 4 + ids.LENGTH
    assert ids.parse(text, prefix="prv") == value
    assert ids.parse(str(value), prefix="prv") == value


@given(st.lists(st.uuids(), min_size=2))
def test_the_public_form_sorts_like_the_id(values):
    assert [ids.base32(v) for v in sorted(values)] == sorted(ids.base32(v) for v in values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "prv_",
        "prv_8" + "0" * 25,
        "prv_" + "u" * 26,
        "prv_" + "0" * 27,
        "{" + "0" * 34 + "}",
        "wsf_" + "0" * 26,
        "0" * 32,
        "\x00" * 36,
        "urn:uuid:00000000-0000-0000-0000-000000000000",
    ],
)
def test_what_is_not_an_id_is_not_found(text):
    with pytest.raises(NotFound):
        ids.parse(text, prefix="prv")


def test_derived_ids_depend_on_every_part():
    parent = UUID(int=7)
    assert ids.derived(parent, "3", 1, 2) == ids.derived(parent, "3", 1, 2)
    assert len({ids.derived(parent, "3", a, b) for a in (1, 2) for b in (1, 2)}) == 4
