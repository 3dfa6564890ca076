"""A difference of a cell over its events."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from billing.comparison.spreading import Delta, Part, spread

USD = Decimal


def a_part(number: int, quantity: int, cost: str, *, customer: int = 1, guess: bool = False):
    return Part(
        event_id=UUID(int=number),
        customer_id=UUID(int=customer),
        is_estimated=guess,
        quantity=quantity,
        cost=USD(cost),
    )


def a_delta(number: int, quantity: int, cost: str) -> Delta:
    return Delta(event_id=UUID(int=number), quantity=quantity, cost=USD(cost))


def test_the_largest_event_of_a_customer_gives_first():
    parts = [a_part(1, 10, "1"), a_part(2, 90, "9")]
    assert spread(-95, USD("-9.5"), parts) == [a_delta(1, -5, "-0.5"), a_delta(2, -90, "-9")]


def test_customers_share_in_proportion():
    parts = [a_part(1, 30, "3", customer=1), a_part(2, 10, "1", customer=2)]
    assert spread(-4, USD("-0.4"), parts) == [a_delta(1, -3, "-0.3"), a_delta(2, -1, "-0.1")]


def test_estimates_give_before_exact_counts_when_they_can_be_the_cause():
    parts = [a_part(1, 100, "10"), a_part(2, 50, "5", guess=True)]
    assert spread(-50, USD("-5"), parts) == [a_delta(2, -50, "-5")]
    assert {one.event_id for one in spread(-60, USD("-6"), parts)} == {UUID(int=1)}


def test_what_is_added_stands_on_one_event():
    parts = [a_part(1, 10, "1", guess=True), a_part(2, 20, "2", guess=True), a_part(3, 99, "9")]
    assert spread(7, USD("0.7"), parts) == [a_delta(2, 7, "0.7")]


def test_tokens_and_cost_may_move_apart():
    assert spread(0, USD("-1"), [a_part(1, 10, "4")]) == [a_delta(1, 0, "-1")]
    assert spread(-3, USD(0), [a_part(1, 10, "4")]) == [a_delta(1, -3, "0")]


def test_without_events_there_is_nothing_to_spread():
    assert spread(-3, USD("-1"), []) == []


def test_what_rounding_left_is_taken_where_something_is():
    parts = [
        a_part(1, 1, "0", customer=1),
        a_part(2, 1, "0", customer=2),
        a_part(3, 0, "0", customer=3),
    ]
    assert spread(-1, USD(0), parts) == [a_delta(2, -1, "0")]


PARTS = st.builds(
    Part,
    event_id=st.uuids(),
    customer_id=st.sampled_from([UUID(int=n) for n in range(1, 4)]),
    is_estimated=st.booleans(),
    quantity=st.integers(0, 10**9),
    cost=st.decimals(0, 10_000, places=12),
)


@given(
    st.lists(PARTS, min_size=1, max_size=8, unique_by=lambda part: part.event_id),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_taking_a_part_adds_up_and_leaves_nobody_below_zero(parts, percent, cost_percent):
    quantity = sum(part.quantity for part in parts) * percent // 100
    cost = sum((part.cost for part in parts), USD(0)) * cost_percent / 100
    cost = cost.quantize(USD("1e-12"), rounding="ROUND_DOWN")
    deltas = {one.event_id: one for one in spread(-quantity, -cost, parts)}
    assert sum(one.quantity for one in deltas.values()) == -quantity
    assert sum(one.cost for one in deltas.values()) == -cost
    for part in parts:
        taken = deltas.get(part.event_id, Delta(event_id=part.event_id, quantity=0, cost=USD(0)))
        assert 0 <= part.quantity + taken.quantity <= part.quantity
        assert 0 <= part.cost + taken.cost <= part.cost


@given(
    st.lists(PARTS, min_size=1, max_size=8, unique_by=lambda part: part.event_id),
    st.integers(0, 10**9),
    st.decimals(0, 10_000, places=12),
)
def test_what_is_added_adds_up(parts, quantity, cost):
    deltas = spread(quantity, cost, parts)
    assert sum(one.quantity for one in deltas) == quantity
    assert sum((one.cost for one in deltas), USD(0)) == cost
