"""Pages by keyset: complete, without doubles, and closed to forged cursors."""

import base64
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ideplatform.kit import paging
from ideplatform.kit.errors import InvalidInput
from ideplatform.outbox.models import Fact

pytestmark = pytest.mark.django_db


def facts(*topics):
    for number, topic in enumerate(topics):
        Fact.objects.create(
            topic=topic, key=str(number), payload={}, created_at=Now() + timedelta(hours=number % 3)
        )


def walk(order, limit, scope="s"):
    found, cursor = [], ""
    while True:
        page = paging.page(Fact.objects.all(), order=order, scope=scope, cursor=cursor, limit=limit)
        assert len(page.items) <= limit
        found += page.items
        if not (cursor := page.next_cursor):
            return found


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    topics=st.lists(st.sampled_from("abcç"), max_size=12),
    order=st.sampled_from(
        [("id",), ("-id",), ("topic", "-id"), ("-topic", "created_at", "id"), ("-created_at", "id")]
    ),
    limit=st.integers(1, 5),
)
def test_the_pages_together_are_the_list(topics, order, limit):
    Fact.objects.all().delete()
    facts(*topics)
    assert walk(order, limit) == list(Fact.objects.order_by(*order))


def test_rows_that_come_and_go_between_pages_neither_double_nor_hide_others():
    facts(*"abcdef")
    page = paging.page(Fact.objects.all(), order=("topic", "id"), scope="s", limit=3)
    Fact.objects.filter(topic__in=["a", "c"]).delete()
    facts("a", "d")
    rest = paging.page(
        Fact.objects.all(), order=("topic", "id"), scope="s", cursor=page.next_cursor, limit=9
    )
    assert [fact.topic for fact in page.items + rest.items] == list("abc") + list("ddef")


def test_a_cursor_is_good_for_its_scope_and_order_alone():
    facts(*"abc")
    cursor = paging.page(Fact.objects.all(), order=("id",), scope="mine", limit=1).next_cursor
    for order, scope in ((("id",), "yours"), (("-id",), "mine"), (("id", "topic"), "mine")):
        with pytest.raises(InvalidInput) as refused:
            paging.page(Fact.objects.all(), order=order, scope=scope, cursor=cursor)
        assert refused.value.errors[0].pointer == "/cursor"


@pytest.mark.parametrize("place", [0, 5, -5])
def test_a_changed_cursor_is_refused(place):
    facts(*"abc")
    cursor = paging.page(Fact.objects.all(), order=("id",), scope="s", limit=1).next_cursor
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[place] ^= 1
    forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with pytest.raises(InvalidInput):
        paging.page(Fact.objects.all(), order=("id",), scope="s", cursor=forged)


@pytest.mark.parametrize("cursor", ["x", "é", "=", "a" * 5_000, "AAAA", "' OR 1=1 --", "\0"])
def test_what_is_no_cursor_is_refused(cursor):
    with pytest.raises(InvalidInput):
        paging.page(Fact.objects.all(), order=("id",), scope="s", cursor=cursor)


@pytest.mark.parametrize(("text", "limit"), [(None, 50), ("", 50), ("1", 1), ("200", 200)])
def test_a_limit_within_its_bounds_is_taken(text, limit):
    assert paging.read_limit(text) == limit


@pytest.mark.parametrize("text", ["0", "201", "-1", "1.5", "x", "٣", "1" * 50, " 1"])
def test_a_limit_outside_its_bounds_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        paging.read_limit(text)
    assert refused.value.errors[0].pointer == "/limit"
