"""What a call reserves before it leaves, and what comes back."""

from __future__ import annotations

import pytest

from billing import errors
from billing.models import Customer, Hold, LedgerTxn, UsageEvent
from billing.services import holds, usage, verification
from billing.types import ApprovalKind, BillingMode, Held, HoldState, Journal, Quote
from ideplatform.kit import ids
from tests.billing.calls import SIMULATOR, publish, tokens, usd
from tests.billing.console.people import approved
from tests.billing.funds import (
    a_budget,
    a_customer,
    a_reservation,
    expire,
    give,
    money_of,
    period_of,
    the_call,
    wallet,
)
from tests.factories import a_user, an_organization


@pytest.fixture(autouse=True)
def _money_adds_up(_database_manners):
    """Whatever a test did, no invariant is broken after it."""
    yield
    assert verification.breaches() == []


@pytest.fixture
def prices(db):
    publish(SIMULATOR)


@pytest.mark.usefixtures("db")
def test_a_call_reserves_its_quote():
    team = a_customer(paid="10")
    held = holds.reserve(a_reservation(team, "4"))
    assert held.state is HoldState.DISPATCHED
    assert not held.is_replay
    assert money_of(team) == (10, 0, 4)
    hold = Hold.objects.get(pk=held.hold_id)
    assert (hold.amount, hold.headroom, hold.dispatched_at) == (4, 6, held.dispatched_at)
    assert held.dispatched_at is not None
    assert (hold.expires_at - held.dispatched_at).total_seconds() == 60


@pytest.mark.usefixtures("db")
def test_promotional_credit_counts_as_money():
    team = a_customer(paid="1", promo="3")
    holds.reserve(a_reservation(team, "4"))
    assert money_of(team) == (1, 3, 4)


@pytest.mark.usefixtures("db")
def test_an_empty_wallet_refuses_with_the_contract():
    team = a_customer(paid="3")
    with pytest.raises(errors.InsufficientCredits) as refused:
        holds.reserve(a_reservation(team, "4"))
    assert refused.value.status == 402
    assert refused.value.extra == {
        "limit_source": "wallet",
        "limit_id": str(team.pk),
        "remedy_hint": "top_up",
    }
    assert money_of(team) == (3, 0, 0)
    assert not Hold.objects.exists()


@pytest.mark.usefixtures("db")
def test_what_running_calls_hold_may_come_back():
    team = a_customer(paid="3")
    holds.reserve(a_reservation(team, "2"))
    with pytest.raises(errors.InFlightExhausted) as refused:
        holds.reserve(a_reservation(team, "2"))
    assert (refused.value.retry_after_s, refused.value.extra["remedy_hint"]) == (5, "wait")
    assert money_of(team) == (3, 0, 2)


@pytest.mark.usefixtures("db")
def test_a_postpaid_limit_is_money_too():
    team = a_customer()
    approved(ApprovalKind.LIMIT, team.pk, limit_usd="5")
    Customer.objects.filter(pk=team.pk).update(postpaid_limit=5)
    holds.reserve(a_reservation(team, "5"))
    with pytest.raises(errors.InFlightExhausted):
        holds.reserve(a_reservation(team, "0.000000000001"))


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize(
    ("status", "error"),
    [("parked", errors.CustomerParked), ("closed", errors.CustomerClosed)],
)
def test_a_parked_or_closed_customer_pays_nothing(status, error):
    team = a_customer(paid="3")
    Customer.objects.filter(pk=team.pk).update(status=status)
    with pytest.raises(error):
        holds.reserve(a_reservation(team, "1"))
    holds.reserve(a_reservation(team, "1", billing_mode=BillingMode.BYOK))
    assert money_of(team) == (3, 0, 0)


@pytest.mark.usefixtures("db")
def test_an_own_key_reserves_nothing_of_the_wallet():
    team = a_customer()
    held = holds.reserve(a_reservation(team, "4", billing_mode=BillingMode.BYOK))
    assert held.amount_usd == 0
    assert money_of(team) == (0, 0, 0)


@pytest.mark.usefixtures("db")
def test_the_first_call_of_an_organization_makes_its_customer_with_welcome_credit():
    owner = a_user()
    held = holds.reserve(a_reservation(owner.personal_organization, "5"))
    assert held.amount_usd == 5
    assert money_of(owner.personal_organization) == (0, 5, 5)


@pytest.mark.usefixtures("db")
def test_many_teams_of_one_founder_are_welcomed_once():
    owner = a_user()
    first, second = an_organization(owner), an_organization(owner)
    holds.reserve(a_reservation(first, "5"))
    with pytest.raises(errors.InsufficientCredits):
        holds.reserve(a_reservation(second, "5"))
    assert LedgerTxn.objects.filter(kind="promo").count() == 1


@pytest.mark.usefixtures("db")
def test_a_repeated_call_is_answered_with_the_hold_it_had():
    team = a_customer(paid="10")
    call = a_reservation(team, "4")
    first, again = holds.reserve_many([call, call])
    assert isinstance(first, Held)
    assert isinstance(again, Held)
    assert again.is_replay
    assert again.hold_id == first.hold_id == holds.reserve(call).hold_id
    assert money_of(team) == (10, 0, 4)


@pytest.mark.usefixtures("prices")
def test_a_call_whose_hold_was_forgotten_never_leaves_again():
    team = a_customer(paid="10")
    call = a_reservation(team, "4")
    holds.reserve(call)
    usage.settle(the_call(call))
    Hold.objects.all().delete()
    again = holds.reserve(call)
    assert (again.is_replay, again.state) == (True, HoldState.SETTLED)
    assert not Hold.objects.exists()


@pytest.mark.usefixtures("db")
def test_a_batch_is_judged_in_the_order_of_arrival_and_neighbours_stand():
    team, other = a_customer(paid="5"), a_customer(paid="1")
    answers = holds.reserve_many(
        [
            a_reservation(team, "3"),
            a_reservation(team, "3"),
            a_reservation(other, "1"),
            a_reservation(team, "2"),
            a_reservation(other, "0.1", billing_mode=BillingMode.FREE),
        ]
    )
    assert [type(answer).__name__ for answer in answers] == [
        "Held",
        "InFlightExhausted",
        "Held",
        "Held",
        "Held",
    ]
    assert money_of(team) == (5, 0, 5)
    assert money_of(other) == (1, 0, 1)


@pytest.mark.usefixtures("db")
def test_a_rich_wallet_reserves_what_is_expected_and_a_poor_one_the_most():
    rich, poor = a_customer(paid="200"), a_customer(paid="199.999999999999")
    quote = Quote(bound=usd("30"), expected=usd("10"))
    assert holds.reserve(a_reservation(rich, quote=quote)).amount_usd == 10
    assert holds.reserve(a_reservation(poor, quote=quote)).amount_usd == 30


@pytest.mark.usefixtures("db")
def test_whole_sets_and_single_calls_reserve_alike():
    """The batch of the rich goes by sets; a budget of a third customer sends it call by call."""
    many = [a_customer(paid="1000") for _ in range(3)]
    calls = [a_reservation(many[n % 3], str(1 + n % 4)) for n in range(30)]
    by_sets = holds.reserve_many(calls)
    a_budget(other := a_customer(paid="1"))
    again = [
        a_reservation(many[n % 3], str(1 + n % 4), billing_mode=call.billing_mode)
        for n, call in enumerate(calls)
    ]
    one_by_one = holds.reserve_many([*again, a_reservation(other)])
    amounts = [answer.amount_usd for answer in by_sets if isinstance(answer, Held)]
    assert amounts == [answer.amount_usd for answer in one_by_one[:30] if isinstance(answer, Held)]
    rooms = dict(Hold.objects.values_list("request_id", "headroom"))
    for index, team in enumerate(many):
        mine = [rooms[call.request_id] for call in (calls + again)[index::3]]
        assert mine == sorted(mine, reverse=True)
        assert mine[-1] == 1_000 - wallet(team).held


@pytest.mark.usefixtures("db")
def test_a_void_gives_everything_back_once():
    team = a_customer(paid="10")
    budget = a_budget(team)
    held = holds.reserve(a_reservation(team, "4"))
    assert period_of(budget) == (0, 4)
    assert holds.void_many([held.hold_id, held.hold_id]) == 1
    assert holds.void_many([held.hold_id]) == 0
    assert money_of(team) == (10, 0, 0)
    assert period_of(budget) == (0, 0)


@pytest.mark.usefixtures("db")
def test_an_extension_takes_more_or_changes_nothing():
    team = a_customer(paid="10")
    held = holds.reserve(a_reservation(team, "4"))
    holds.extend(hold_id=held.hold_id, amount_usd=usd("9"))
    assert money_of(team) == (10, 0, 9)
    holds.extend(hold_id=held.hold_id, amount_usd=usd("1"))
    assert money_of(team) == (10, 0, 9)
    with pytest.raises(errors.InsufficientCredits):
        holds.extend(hold_id=held.hold_id, amount_usd=usd("10.000000000001"))
    assert money_of(team) == (10, 0, 9)
    assert Hold.objects.get().amount == 9
    holds.void_many([held.hold_id])
    with pytest.raises(errors.HoldEnded):
        holds.extend(hold_id=held.hold_id, amount_usd=usd("9"))
    assert money_of(team) == (10, 0, 0)


@pytest.mark.usefixtures("prices")
def test_a_settlement_takes_what_it_cost_and_gives_back_the_rest():
    team = a_customer(paid="10")
    call = a_reservation(team, "4")
    holds.reserve(call)
    settled = usage.settle(the_call(call))
    assert settled.billed_usd == usd("0.0014")
    assert settled.balance_usd == usd("9.9986")
    assert money_of(team) == (usd("9.9986"), 0, 0)
    hold = Hold.objects.get()
    assert (hold.state, hold.settled_amount, hold.overrun) == ("settled", usd("0.0014"), 0)
    assert UsageEvent.objects.get().hold_id == call.hold_id


@pytest.mark.usefixtures("prices")
def test_a_cost_above_the_hold_is_posted_as_overrun():
    team = a_customer(paid="0.001")
    call = a_reservation(team, "0.001")
    holds.reserve(call)
    usage.settle(the_call(call))
    assert money_of(team) == (usd("-0.0004"), 0, 0)
    assert Hold.objects.get().overrun == usd("0.0004")
    with pytest.raises(errors.InsufficientCredits):
        holds.reserve(a_reservation(team, "0.000000000001"))


@pytest.mark.usefixtures("prices")
@pytest.mark.parametrize("ending", ["void", "expire"])
def test_a_settlement_after_the_end_of_its_hold_counts_once(ending):
    team = a_customer(paid="10")
    budget = a_budget(team)
    call = a_reservation(team, "4", is_dispatched=False)
    held = holds.reserve(call)
    if ending == "void":
        holds.void_many([held.hold_id])
    else:
        expire(held.hold_id)
        assert holds.sweep() == 0
        assert Hold.objects.get().state == "expired"
    assert money_of(team) == (10, 0, 0)
    first, again = usage.settle(the_call(call)), usage.settle(the_call(call))
    assert (first.already_settled, again.already_settled) == (False, True)
    assert money_of(team) == (usd("9.9986"), 0, 0)
    assert period_of(budget) == (usd("0.0014"), 0)


@pytest.mark.usefixtures("db")
def test_a_pending_call_leaves_only_once_it_is_marked():
    team = a_customer(paid="10")
    held = holds.reserve(a_reservation(team, "4", is_dispatched=False))
    assert (held.state, held.dispatched_at) == (HoldState.PENDING, None)
    assert holds.dispatch_many([held.hold_id], lease_s=30) == 1
    assert holds.dispatch_many([held.hold_id], lease_s=30) == 0
    hold = Hold.objects.get()
    assert hold.state == "dispatched"
    assert hold.dispatched_at is not None
    assert (hold.expires_at - hold.dispatched_at).total_seconds() == pytest.approx(30, abs=0.1)


@pytest.mark.usefixtures("prices")
def test_a_dead_call_that_never_answered_costs_us_and_not_the_customer():
    team = a_customer(paid="10")
    call = a_reservation(team, "4", input_bytes=1_000)
    holds.reserve(call)
    expire(call.hold_id)
    assert holds.sweep() == 1
    event = UsageEvent.objects.get()
    assert (event.accuracy, event.outcome, event.status) == ("estimated", "crash_recovered", 0)
    assert (event.tokens_input, event.estimated_cost, event.billed_cost) == (300, usd("0.0003"), 0)
    assert money_of(team) == (10, 0, 0)
    legs = dict(LedgerTxn.objects.get(kind="usage").entries.values_list("account__kind", "amount"))
    assert legs == {
        "provider_cogs": usd("-0.0003"),
        "provider_payable:openai_compatible": usd("0.0003"),
    }
    assert holds.sweep() == 0


@pytest.mark.usefixtures("prices")
def test_a_dead_call_that_had_answered_is_charged_by_its_journal():
    team = a_customer(paid="10")
    call = a_reservation(team, "4", input_bytes=1_000)
    holds.reserve(call)
    holds.renew(
        [
            Journal(
                request_id=call.request_id,
                attempt=1,
                output_bytes=4_000,
                usage=tokens(input=77),
                service_tier="standard",
                served_model="sim-echo",
                provider_request_id="r1",
                first_token_ms=12,
            )
        ],
        lease_s=60,
    )
    expire(call.hold_id)
    assert holds.sweep() == 1
    event = UsageEvent.objects.get()
    assert event.quantities == {"input": 77, "output": 1_000}
    assert event.billed_cost == 77 * usd("0.000001") + 1_000 * usd("0.000002")
    assert money_of(team) == (10 - event.billed_cost, 0, 0)


@pytest.mark.usefixtures("db")
def test_a_living_call_is_left_alone():
    team = a_customer(paid="10")
    holds.reserve(a_reservation(team, "4"))
    assert holds.sweep() == 0
    assert money_of(team) == (10, 0, 4)


@pytest.mark.usefixtures("prices")
def test_promotional_credit_burns_first_then_priority_expiry_and_age():
    from datetime import timedelta

    from billing.models import CreditLot
    from billing.services.ledger import Grant
    from billing.types import LotKind
    from ideplatform.kit import clock

    team = a_customer()
    soon, late = clock.now() + timedelta(days=1), clock.now() + timedelta(days=9)
    for grant in (Grant(), Grant(expires_at=late), Grant(expires_at=soon), Grant(priority=-1)):
        give(team, usd("0.0002"), grant=grant)
    give(team, usd("0.0003"), kind=LotKind.PROMO)
    call = a_reservation(team, "0.0001")
    holds.reserve(call)
    usage.settle(the_call(call, tokens=tokens(input=800)))
    lots = CreditLot.objects.order_by("created_at", "pk").values_list("remaining", flat=True)
    assert list(lots) == [usd("0.0002"), usd("0.0001"), 0, 0, 0]
    assert money_of(team) == (usd("0.0003"), 0, 0)


def test_an_unknown_hold_cannot_be_raised(db):
    with pytest.raises(errors.HoldEnded):
        holds.extend(hold_id=ids.new(), amount_usd=usd("1"))
