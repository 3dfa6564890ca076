"""Prices in the console: drafted, held against last week, guarded, published by two persons."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from billing.models import ApprovalRequest, Price, PriceVersion
from billing.services import price_versions, rerating, usage
from billing.services.price_reviews import explain, is_slip
from billing.services.price_versions import Change
from ideplatform.kit import clock, ids
from tests.accounts.rest import PASSWORD
from tests.billing.calls import a_call, a_list, publish, tokens, usd
from tests.billing.console.desk import Desk, asked, hidden
from tests.factories import an_organization

pytestmark = pytest.mark.django_db


@pytest.fixture
def published():
    publish(a_list(a="0.000001"))


@pytest.fixture
def publisher():
    return Desk("price_publisher")


@pytest.fixture
def second():
    return Desk("price_publisher")


def typed(desk, price, *, version=None, **fields):
    """One price, typed in."""
    form = {
        "provider_type": "openai",
        "pattern": "a",
        "unit_class": "input",
        "service_tier": "standard",
        "context_over_tokens": "0",
        "unit_price": price,
    }
    path = f"priceversion/{version}/price/" if version else "priceversion/draft/"
    return desk.post(path, **(form | fields))


def a_draft(desk, price="0.0000012", **fields):
    typed(desk, price, **fields)
    return PriceVersion.objects.get(state="draft")


def to_publish(desk, version, **fields):
    form = {"token": str(ids.new()), "reason": "The vendor's new list"}
    return desk.post(f"priceversion/{version.pk}/publish/", **(form | fields))


def in_force(name="a"):
    rows = Price.objects.filter(
        is_published=True, effective__upper_inf=True, pattern=name, unit_class="input"
    )
    return list(rows.values_list("unit_price", flat=True))


def test_two_persons_publish_what_one_drafted(published, publisher, second):
    draft = a_draft(publisher)
    request_id = asked(to_publish(publisher, draft))
    assert in_force() == [usd("0.000001")]
    second.approve(request_id)
    connection.check_constraints()
    draft.refresh_from_db()
    assert (draft.state, draft.number, draft.approved_by_id) == ("published", 2, second.user.pk)
    assert draft.created_by_id == publisher.user.pk
    assert in_force() == [usd("0.0000012")]


def test_whoever_drafted_does_not_publish(published, publisher):
    request_id = asked(to_publish(publisher, a_draft(publisher)))
    page = publisher.read(f"approvalrequest/{request_id}/change/")
    assert hidden(page, "payload_hash") == ""
    root = Desk(is_superuser=True)
    ApprovalRequest.objects.get()
    assert root.user.pk != publisher.user.pk
    assert in_force() == [usd("0.000001")]


def test_a_price_may_begin_later(published, publisher, second):
    draft, later = a_draft(publisher), clock.now() + timedelta(days=3)
    text = later.strftime("%Y-%m-%d %H:%M:%S")
    second.approve(asked(to_publish(publisher, draft, effective_from=text)))
    connection.check_constraints()
    new = Price.objects.get(version=draft)
    assert new.effective.lower == later.replace(microsecond=0)
    assert new.supersedes
    assert new.supersedes.effective.upper == new.effective.lower


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("1", "1 USD per token is 1000000 USD per million tokens"),
        ("0.15", "If 0.15 USD is the price of a million tokens, enter 0.00000015"),
        ("0.001", "1000 times off the present 0.000001 USD"),
        ("0.000000001", "1000 times off the present 0.000001 USD"),
    ],
)
def test_a_price_of_another_unit_is_blocked_and_explained(published, publisher, price, said):
    page = typed(publisher, price).content.decode()
    assert said in page
    assert not PriceVersion.objects.filter(state="draft").exists()


def test_a_new_price_a_million_times_too_high_is_explained(published, publisher):
    page = typed(publisher, "0.0025", pattern="new").content.decode()
    assert "2500 USD per million tokens" in page
    assert "enter 0.0000000025" in page
    assert not PriceVersion.objects.filter(state="draft").exists()


def test_a_list_per_million_is_blocked_and_explained(published, publisher):
    answer = publisher.post("priceversion/draft/", listed=a_list(a="1"), note="new list")
    assert "1000000 USD per million tokens" in answer.content.decode()
    assert not PriceVersion.objects.filter(state="draft").exists()


def test_a_list_is_drafted_and_reviewed(published, publisher):
    answer = publisher.post("priceversion/draft/", listed=a_list(a="0.0000012"), note="new list")
    draft = PriceVersion.objects.get(state="draft")
    assert answer["Location"] == f"/admin/billing/priceversion/{draft.pk}/change/"
    page = publisher.read(f"priceversion/{draft.pk}/change/")
    assert ">1.00</td>" in page
    assert "<b>1.20</b>" in page


def test_a_jump_is_said_before_it_is_asked_for(published, publisher, second):
    draft = a_draft(publisher, "0.000003")
    assert "It moves by 200 %." in publisher.read(f"priceversion/{draft.pk}/change/")
    refused = to_publish(publisher, draft).content.decode()
    assert "It moves by 200 %." in refused
    assert not ApprovalRequest.objects.exists()
    second.approve(asked(to_publish(publisher, draft, accepts_jumps="on")))
    connection.check_constraints()
    assert in_force() == [usd("0.000003")]


def test_an_edit_voids_the_request(published, publisher, second):
    draft = a_draft(publisher)
    request_id = asked(to_publish(publisher, draft))
    seen = bytes(ApprovalRequest.objects.get().payload_hash).hex()
    typed(publisher, "0.0000013", version=draft.pk)
    row = ApprovalRequest.objects.get()
    assert (row.state, row.decision_note) == (
        "rejected",
        "The draft was edited after it was asked for.",
    )
    second.post(
        f"approvalrequest/{request_id}/approve/",
        payload_hash=seen,
        password=PASSWORD,
    )
    assert in_force() == [usd("0.000001")]


def test_a_draft_that_was_edited_in_a_shell_is_not_what_was_seen(published, publisher, second):
    draft = a_draft(publisher)
    request_id = asked(to_publish(publisher, draft))
    Price.objects.filter(version=draft).update(unit_price=usd("0.0000014"))
    second.approve(request_id)
    assert "not the one that was shown" in second.read(f"approvalrequest/{request_id}/change/")
    assert (ApprovalRequest.objects.get().state, in_force()) == ("open", [usd("0.000001")])


def test_a_draft_is_thrown_away(published, publisher):
    draft = a_draft(publisher)
    publisher.post(f"priceversion/{draft.pk}/drop/")
    assert not PriceVersion.objects.filter(state="draft").exists()
    only = PriceVersion.objects.get()
    publisher.post(f"priceversion/{only.pk}/drop/")
    assert PriceVersion.objects.filter(pk=only.pk).exists()


@pytest.mark.parametrize("group", ["billing_viewer", "billing_manager", "billing_support"])
def test_others_look_at_prices_and_change_none(published, publisher, group):
    draft = a_draft(publisher)
    other = Desk(group)
    assert other.get(f"priceversion/{draft.pk}/change/").status_code == 200
    assert typed(other, "0.0000011", version=draft.pk).status_code == 403
    assert typed(other, "0.0000011").status_code == 403
    assert to_publish(other, draft).status_code == 403
    assert other.post(f"priceversion/{draft.pk}/drop/").status_code == 403
    assert Price.objects.get(version=draft).unit_price == usd("0.0000012")
    assert not ApprovalRequest.objects.exists()


def test_last_week_is_priced_again(published, publisher):
    """3 calls of 1,000 in and 200 out at 1 USD per million; input will cost 1.2 USD."""
    team = an_organization()
    for days in (0, 1, 6, 8):
        moment = clock.now() - timedelta(days=days, minutes=1)
        usage.settle(
            a_call(
                team,
                provider_type="openai",
                requested_model="a",
                served_model="a",
                occurred_at=moment,
                completed_at=moment,
            )
        )
    draft = a_draft(publisher)
    (row,) = rerating.rerate(draft.pk)
    assert (row.provider_type, row.model, row.calls) == ("openai", "a", 3)
    assert (row.now_usd, row.then_usd, row.delta_usd) == (
        usd("0.0036"),
        usd("0.0042"),
        usd("0.0006"),
    )
    page = publisher.read(f"priceversion/{draft.pk}/change/")
    assert "0.0006" in page


def test_long_calls_are_priced_again_by_their_own_threshold(published, publisher):
    """Only what is strictly above 1,000 tokens of input has the price of long calls."""
    team = an_organization()
    for count in (1_000, 1_001):
        moment = clock.now() - timedelta(minutes=1)
        usage.settle(
            a_call(
                team,
                provider_type="openai",
                requested_model="a",
                served_model="a",
                tokens=tokens(input=count),
                occurred_at=moment,
                completed_at=moment,
            )
        )
    draft = a_draft(publisher, "0.000002", context_over_tokens="1000")
    (row,) = rerating.rerate(draft.pk)
    assert row.calls == 2
    assert (row.now_usd, row.then_usd) == (usd("0.002001"), usd("0.003002"))


@pytest.mark.parametrize(
    ("was", "now", "slip"),
    [
        ("0.000001", "0.0000015", False),
        ("0.000001", "0.000499", False),
        ("0.000001", "0.0005", True),
        ("0.000001", "0.000000002", True),
        (None, "0.002", False),
        (None, "0.002000000000001", True),
        ("0.000001", "0", False),
    ],
)
def test_what_counts_as_a_slip(was, now, slip):
    key = price_versions.key_of(
        Price(
            provider_type="openai",
            match="exact",
            pattern="a",
            service_tier="standard",
            unit_class="input",
        )
    )
    change = Change(key=key, was=usd(was) if was else None, now=usd(now))
    assert is_slip(change) is slip
    assert bool(explain(change)) is (slip or change.is_jump)
