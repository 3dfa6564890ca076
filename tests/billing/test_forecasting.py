"""What a window will probably have cost: to the last digit, by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.forecasting import Forecast, ForecastMethod, forecast
from billing.windows import of_period, zone_of
from tests.billing.calls import usd

NOVEMBER = of_period("month:2026-11", zone_of("UTC"))
NOW = datetime(2026, 11, 21, tzinfo=UTC)  # ten of thirty days are left
costs = st.decimals(0, 10**6, places=12)


def test_a_window_that_is_over_costs_what_it_cost():
    found = forecast(NOVEMBER, now=NOVEMBER.end, spent=usd("3"), history=[usd("9")] * 28)
    three = usd("3")
    assert found == Forecast(low=three, mid=three, high=three, method=ForecastMethod.CLOSED)


def test_steady_days_go_on_as_they_were():
    found = forecast(NOVEMBER, now=NOW, spent=usd("40"), history=[usd("2")] * 28)
    assert {found.low, found.mid, found.high} == {usd("60")}
    assert found.method is ForecastMethod.MEAN_OF_DAYS


def test_uneven_days_spread_around_their_mean():
    # Mean 2, standard deviation 1 (1, 2, 3); ten days: 1.2816 x 1 x sqrt(10).
    found = forecast(NOVEMBER, now=NOW, spent=usd("40"), history=[usd("1"), usd("2"), usd("3")])
    assert found.mid == 60
    assert found.high - found.mid == usd("4.052775049272")
    assert found.mid - found.low == usd("4.052775049272")


def test_days_before_the_first_cost_do_not_count():
    history = [usd("0")] * 20 + [usd("1"), usd("0"), usd("2")]
    assert forecast(NOVEMBER, now=NOW, spent=usd("3"), history=history).mid == 13


def test_with_too_few_days_the_window_goes_on_at_its_pace():
    found = forecast(NOVEMBER, now=NOW, spent=usd("20"), history=[usd("0")] * 26 + [usd("1")] * 2)
    assert found == Forecast(
        low=usd("20"), mid=usd("30"), high=usd("40"), method=ForecastMethod.PACE
    )


def test_a_window_that_has_not_begun():
    early = NOVEMBER.start - timedelta(days=3)
    found = forecast(NOVEMBER, now=early, spent=usd("0"), history=[usd("2")] * 28)
    assert found.mid == 60
    assert forecast(NOVEMBER, now=early, spent=usd("0"), history=[]).mid == 0


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@given(costs, st.lists(costs, max_size=28), st.integers(0, 40 * 86_400))
def test_a_forecast_is_ordered_and_never_below_what_is_spent(zone, spent, history, second):
    window = of_period("month:2026-11", zone_of(zone))
    now = window.start - timedelta(days=5) + timedelta(seconds=second)
    found = forecast(window, now=now, spent=spent, history=history)
    assert spent <= found.low <= found.mid <= found.high
    for amount in (found.low, found.mid, found.high):
        assert amount == amount.quantize(Decimal("1e-12"))
