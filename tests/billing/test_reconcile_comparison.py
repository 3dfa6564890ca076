"""How a vendor's report and our count differ, cell by cell."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.comparison import Cell, Count, Finding, allotment, beside_skewed, compare
from billing.types import LineClass, UnitClass
from billing.vendor_reports import Charge, Report, Usage
from tests.billing.reports import DAY, a_cell, a_context, a_count, the_report

NEXT = DAY + timedelta(days=1)
OURS = {a_cell(): a_count(1_000, "3"), a_cell("gpt-5", unit="output"): a_count(50, "1")}


def classes(ours, report, **context) -> dict[tuple[str, str], str]:
    return {
        (one.cell.model, one.cell.day.isoformat()): one.line_class.value
        for one in compare(ours, report, a_context(**context))
    }


def changed(quantity: int | None = None, cost: str | None = None, cell: Cell | None = None):
    """A report that differs from ours in one cell."""
    cell = cell or a_cell()
    before = OURS.get(cell, Count())
    theirs = OURS | {
        cell: Count(
            quantity=before.quantity if quantity is None else quantity,
            cost=before.cost if cost is None else Decimal(cost),
        )
    }
    return the_report(theirs)


def first(report: Report, **context: object) -> Finding:
    found = compare(OURS, report, a_context(**context))
    return next(one for one in found if one.cell.model == "gpt-4o-mini")


def test_equal_counts_match():
    found = compare(OURS, the_report(OURS), a_context())
    assert {one.line_class for one in found} == {LineClass.MATCH}
    assert [one.quantity_off for one in found] == [0, 0]


@pytest.mark.parametrize(
    ("quantity", "cost", "expected"),
    [
        (1_001, "3", "missing_usage"),
        (999, "3", "phantom_usage"),
        (1_000, "3.0149", "rounding"),
        (1_000, "3.01507", "rounding"),
        (1_000, "3.01508", "price_drift"),
        (1_000, "2.98", "price_drift"),
        (1_000, "0", "price_drift"),
    ],
)
def test_tokens_agree_to_the_last_and_costs_to_half_a_percent(quantity, cost, expected):
    assert first(changed(quantity, cost)).line_class == expected


@pytest.mark.parametrize(("cost", "expected"), [("0.0130", "rounding"), ("0.0131", "price_drift")])
def test_a_cent_is_always_tolerated(cost, expected):
    ours = {a_cell(): a_count(1_000, "0.003")}
    (one,) = compare(ours, the_report({a_cell(): a_count(1_000, cost)}), a_context())
    assert one.line_class == expected


def test_what_is_not_complete_yet_is_late_and_what_agrees_is_not():
    found = classes(OURS, changed(900, "3"), settled_before=DAY)
    assert found == {("gpt-4o-mini", "2026-11-01"): "late", ("gpt-5", "2026-11-01"): "match"}
    assert first(changed(900, "3"), settled_before=NEXT).line_class == "phantom_usage"


def test_a_call_on_the_other_side_of_midnight_is_skew_on_both_days():
    ours = {a_cell(): a_count(100, "1"), a_cell(day=NEXT): a_count(50, "0.5")}
    theirs = {a_cell(): a_count(90, "0.9"), a_cell(day=NEXT): a_count(60, "0.6")}
    assert classes(ours, the_report(theirs)) == {
        ("gpt-4o-mini", "2026-11-01"): "boundary_skew",
        ("gpt-4o-mini", "2026-11-02"): "boundary_skew",
    }
    theirs = {a_cell(): a_count(90, "0.9"), a_cell(day=NEXT): a_count(61, "0.6")}
    assert classes(ours, the_report(theirs)) == {
        ("gpt-4o-mini", "2026-11-01"): "phantom_usage",
        ("gpt-4o-mini", "2026-11-02"): "missing_usage",
    }


def test_a_day_makes_one_pair_only():
    days = [DAY, NEXT, NEXT + timedelta(days=1)]
    ours = {a_cell(day=day): a_count(100, "1") for day in days}
    counts = (a_count(90, "1"), a_count(110, "1"), a_count(90, "1"))
    theirs = {a_cell(day=day): count for day, count in zip(days, counts, strict=True)}
    found = compare(ours, the_report(theirs), a_context())
    assert [one.line_class.value for one in found] == [
        "boundary_skew",
        "boundary_skew",
        "phantom_usage",
    ]


def test_skew_is_seen_over_the_edge_of_the_window():
    before = replace(first(changed(900, "2.7")), line_class=LineClass.LATE)
    ours = {a_cell(day=NEXT): a_count(1_000, "3")}
    report = the_report({a_cell(day=NEXT): a_count(1_100, "3.3")})
    context = a_context(beside={before.cell: before})
    found = compare(ours, report, context)
    assert [one.line_class for one in found] == [LineClass.BOUNDARY_SKEW]
    assert beside_skewed(found, context) == [before.cell]


def test_unpriced_usage_is_known_by_its_quantity():
    ours = {a_cell(): a_count(1_000, None)}
    (one,) = compare(ours, the_report({a_cell(): a_count(1_000, "3")}), a_context())
    assert (one.line_class, one.unbooked) == ("unpriced", Decimal(3))


def test_a_model_that_nobody_here_knows():
    report = the_report(OURS | {a_cell("o9-secret"): a_count(5, "9")})
    found = classes(OURS, report, knows_model=lambda cell: cell.model != "o9-secret")
    assert found["o9-secret", "2026-11-01"] == "unknown_model"
    assert classes(OURS, report)["o9-secret", "2026-11-01"] == "missing_usage"


def test_other_keys_and_projects_are_foreign_when_ours_is_named():
    mine = the_report(OURS, key="key_ours", project="proj_1")
    other = the_report({a_cell(): a_count(7, "1")}, key="key_other", project="proj_2")
    both = Report(usages=mine.usages + other.usages, charges=mine.charges + other.charges)
    for ref in ("key_ours", "proj_1", "proj_1/key_ours"):
        found = compare(OURS, both, a_context(account_ref=ref))
        assert [(one.cell.key, one.line_class.value) for one in found] == [
            ("key_other", "foreign_traffic"),
            (ref, "match"),
            (ref, "match"),
        ]
    assert compare(OURS, both, a_context())[0].line_class == "missing_usage"


def test_a_credit_is_a_line_of_its_own_and_lowers_no_charge():
    gift = Charge(day=DAY, amount=Decimal("-0.5"), label="Promo")
    report = the_report(OURS)
    report = Report(usages=report.usages, charges=(*report.charges, gift))
    found = compare(OURS, report, a_context())
    assert [(one.cell.model, one.line_class.value) for one in found] == [
        ("Promo", "credit_or_discount"),
        ("gpt-4o-mini", "match"),
        ("gpt-5", "match"),
    ]
    assert found[0].unbooked == Decimal("-0.5")


def test_a_charge_without_any_usage_is_missing_usage():
    report = the_report(OURS)
    fee = Charge(
        day=DAY, amount=Decimal(2), label="gpt-5, input", model="gpt-5", unit_class=UnitClass.INPUT
    )
    found = classes(
        {}, Report(usages=report.usages, charges=(*report.charges, fee)), settled_before=NEXT
    )
    assert found["gpt-5", "2026-11-01"] == "missing_usage"


def test_what_was_decided_before_is_explained_and_no_more_than_that():
    explained = {a_cell(): Count(quantity=10, cost=Decimal("0.03"))}
    assert first(changed(1_010, "3.03"), explained=explained).line_class == "match"
    assert first(changed(1_011, "3.03"), explained=explained).line_class == "missing_usage"
    assert first(changed(1_000, "3"), explained=explained).line_class == "phantom_usage"


def test_dated_and_plain_names_are_one_model_when_only_one_is_meant():
    ours = {a_cell("gpt-4o-mini"): a_count(1_000, "3")}
    report = the_report({a_cell("gpt-4o-mini-2024-07-18"): a_count(1_000, "3")})
    assert classes(ours, report) == {("gpt-4o-mini", "2026-11-01"): "match"}
    both = ours | {a_cell("gpt-4o-mini-2025-01-01"): a_count(5, "1")}
    assert set(classes(both, report).values()) == {"phantom_usage", "missing_usage"}


def test_anthropics_priority_tier_has_usage_and_no_cost():
    cell = replace(a_cell("claude-sonnet-4-5"), tier="priority")
    ours = {cell: a_count(1_000, "3")}
    report = Report(usages=the_report(ours).usages)
    assert classes(ours, report, provider_type="anthropic")["claude-sonnet-4-5", "2026-11-01"] == (
        "match"
    )
    assert classes(ours, report)["claude-sonnet-4-5", "2026-11-01"] == "price_drift"


def test_one_charge_for_two_tiers_is_divided_by_list_price():
    standard, batch = a_cell(), replace(a_cell(), tier="batch")
    ours = {standard: a_count(100, "2"), batch: a_count(100, "1")}
    usages = the_report(ours).usages
    charge = Charge(
        day=DAY,
        amount=Decimal(3),
        label="gpt-4o-mini, input",
        model="gpt-4o-mini",
        unit_class=UnitClass.INPUT,
    )
    prices = {"standard": Decimal("0.02"), "batch": Decimal("0.01")}
    found = compare(
        ours,
        Report(usages=usages, charges=(charge,)),
        a_context(unit_price=lambda cell: prices[cell.tier]),
    )
    assert [(one.cell.tier, one.theirs.cost) for one in found] == [
        ("batch", Decimal(1)),
        ("standard", Decimal(2)),
    ]
    assert {one.line_class for one in found} == {LineClass.MATCH}


def test_a_charge_that_does_not_divide_is_divided_to_the_last_place():
    keys = ("key_1", "key_2", "key_3")
    usages = tuple(
        one for key in keys for one in the_report({a_cell(): a_count(1_000)}, key=key).usages
    )
    charge = Charge(
        day=DAY, amount=Decimal(1), label="", model="gpt-4o-mini", unit_class=UnitClass.INPUT
    )
    report = Report(usages=usages, charges=(charge,))
    found = allotment.cells({}, report, a_context(account_ref="nobody"))
    third = Decimal("0.333333333333")
    assert [found[cell].cost for cell in sorted(found, key=lambda cell: cell.key)] == [
        third,
        third,
        third + Decimal("1e-12"),
    ]


MODELS = st.sampled_from(["gpt-4o-mini", "gpt-5", "claude-sonnet-4-5", "gemini-2.5-flash"])
CELLS = st.builds(
    Cell,
    day=st.dates(date(2026, 11, 1), date(2026, 11, 3)),
    model=MODELS,
    tier=st.sampled_from(["standard", "batch"]),
    unit_class=st.sampled_from(["input", "cache_read", "output"]),
)
COSTS = st.decimals(0, 10_000, places=12, allow_nan=False)
COUNTS = st.builds(Count, quantity=st.integers(1, 10**12), cost=COSTS)
BOOKS = st.dictionaries(CELLS, COUNTS, max_size=12)


@given(BOOKS)
def test_whoever_counts_the_same_finds_nothing_open(ours):
    plain = Report(
        usages=the_report(ours).usages,
        charges=tuple(
            replace(charge, tier=cell.tier)
            for charge, cell in zip(the_report(ours).charges, ours, strict=True)
        ),
    )
    found = compare(ours, plain, a_context())
    assert {one.line_class for one in found} <= {LineClass.MATCH}
    assert {one.cell for one in found} == ours.keys()


USAGES = st.builds(
    Usage,
    day=st.just(DAY),
    model=MODELS,
    key=st.sampled_from(["", "key_1", "key_2"]),
    project=st.sampled_from(["", "proj_1"]),
    tier=st.sampled_from(["default", "batch"]),
    unit_class=st.sampled_from([UnitClass.INPUT, UnitClass.OUTPUT]),
    quantity=st.integers(1, 10**9),
)
CHARGES = st.builds(
    Charge,
    day=st.just(DAY),
    amount=COSTS.filter(bool),
    label=st.just("a charge"),
    project=st.none() | st.sampled_from(["", "proj_1"]),
    model=st.none() | MODELS,
    tier=st.none() | st.just("batch"),
    unit_class=st.none() | st.sampled_from([UnitClass.INPUT, UnitClass.CACHE_READ]),
)


@given(
    st.lists(USAGES, max_size=8),
    st.lists(CHARGES, max_size=8),
    st.sampled_from(["", "key_1", "proj_1"]),
    st.sampled_from([None, Decimal(0), Decimal("0.000001")]),
)
def test_dividing_charges_neither_loses_nor_makes_money_or_tokens(usages, charges, ref, price):
    report = Report(usages=tuple(usages), charges=tuple(charges))
    context = a_context(account_ref=ref, unit_price=lambda _cell: price)
    found = allotment.cells({}, report, context)
    costs = [count.cost or Decimal(0) for count in found.values()]
    assert sum(costs) == sum(one.amount for one in charges)
    assert sum(count.quantity or 0 for count in found.values()) == sum(u.quantity for u in usages)


@given(BOOKS, BOOKS)
def test_every_difference_is_found_and_nothing_else(ours, theirs):
    report = Report(
        usages=the_report(theirs).usages,
        charges=tuple(
            replace(charge, tier=cell.tier)
            for charge, cell in zip(the_report(theirs).charges, theirs, strict=True)
        ),
    )
    found = {one.cell: one for one in compare(ours, report, a_context())}
    for cell in ours.keys() | theirs.keys():
        mine, other = ours.get(cell, Count()), theirs.get(cell, Count())
        one = found[cell]
        assert one.quantity_off == (other.quantity or 0) - (mine.quantity or 0)
        assert one.cost_off == other.cost - mine.cost
        if one.quantity_off:
            expected = "missing_usage" if one.quantity_off > 0 else "phantom_usage"
            assert one.line_class in {expected, LineClass.BOUNDARY_SKEW}
        else:
            assert one.line_class in {"match", "rounding", "price_drift"}
