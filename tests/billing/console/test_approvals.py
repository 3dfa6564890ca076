"""Two persons: no way around the second one, neither in the services nor in the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from accounts.errors import ReauthenticationRequired
from accounts.models import RefreshSession
from billing.errors import ApprovalClosed, ApprovalStale, SelfApproval
from billing.models import (
    ApprovalRequest,
    BillingAudit,
    HandMove,
    LedgerTxn,
)
from billing.services import adjustments, approvals
from ideplatform.kit import ids
from ideplatform.kit.errors import Forbidden, NotFound
from tests.billing.calls import usd
from tests.billing.console.asking import WHY, a_request, approve, commit
from tests.billing.console.people import an_operator
from tests.billing.funds import money_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("amount", "left"), [("250", 260), ("-4", 6)])
def test_a_second_person_approves_and_it_is_done(team, asker, manager, amount, left):
    request = a_request(asker, team, amount)
    assert money_of(team) == (10, 0, 0)
    done = approve(manager, request)
    commit()
    assert money_of(team) == (left, 0, 0)
    txn = LedgerTxn.objects.get(pk=done.result)
    assert (done.state, txn.kind, txn.reason) == ("applied", "adjustment", "Outage of Friday")
    assert (txn.actor_id, txn.links["approval"]) == (asker.user_id, str(request.pk))
    assert HandMove.objects.get(pk=txn.pk).approval_id == request.pk
    with pytest.raises(ApprovalClosed):
        approve(manager, request)
    assert list(BillingAudit.objects.order_by("seq").values_list("action", "actor_id")) == [
        ("approval.requested", asker.user_id),
        ("approval.applied", manager.user_id),
    ]


def test_nobody_approves_their_own_request_not_even_a_superuser(team):
    root = an_operator(is_superuser=True)
    request = a_request(root, team)
    with pytest.raises(SelfApproval):
        approve(root, request)
    request.refresh_from_db()
    assert (request.state, money_of(team)) == ("open", (10, 0, 0))


@pytest.mark.parametrize("group", ["billing_viewer", "billing_support", "auditor", ""])
def test_whoever_lacks_the_right_does_not_approve(team, asker, group):
    request = a_request(asker, team)
    with pytest.raises(Forbidden):
        approve(an_operator(*filter(None, [group])), request)
    request.refresh_from_db()
    assert request.state == "open"


def test_an_api_key_is_no_operator(team, asker, manager):
    request = a_request(asker, team)
    key = replace(manager, api_key_id=ids.new(), session_id=None, scopes=frozenset())
    with pytest.raises(Forbidden):
        approve(key, request)
    with pytest.raises(Forbidden):
        a_request(replace(asker, api_key_id=ids.new()), team)


def test_an_approver_has_proved_who_they_are_lately(team, asker, manager):
    request = a_request(asker, team)
    RefreshSession.objects.filter(user=manager.user_id).update(
        auth_at=F("auth_at") - timedelta(minutes=16)
    )
    with pytest.raises(ReauthenticationRequired):
        approve(manager, request)
    assert money_of(team) == (10, 0, 0)


def test_an_edit_voids_the_approval(team, asker, manager):
    request = a_request(asker, team)
    seen = approvals.digest(request)
    edited = approvals.amend(
        actor=asker,
        request_id=request.pk,
        payload=request.payload | {"amount_usd": "9999"},
        reason="more",
    )
    with pytest.raises(ApprovalClosed):
        approve(manager, request)
    with pytest.raises(ApprovalStale):
        approvals.approve(actor=manager, request_id=edited.pk, payload_hash=seen)
    with pytest.raises(Forbidden):
        approvals.amend(actor=manager, request_id=edited.pk, payload={}, reason="mine now")
    assert money_of(team) == (10, 0, 0)


def test_a_request_is_refused_or_withdrawn_once(team, asker, manager):
    refused, withdrawn = a_request(asker, team), a_request(asker, team)
    approvals.reject(actor=manager, request_id=refused.pk, note="No ticket")
    approvals.reject(actor=asker, request_id=withdrawn.pk)
    for request in (refused, withdrawn):
        with pytest.raises(ApprovalClosed):
            approve(manager, request)
        with pytest.raises(ApprovalClosed):
            approvals.reject(actor=manager, request_id=request.pk)
    with pytest.raises(NotFound):
        approvals.reject(actor=manager, request_id=ids.new())
    assert money_of(team) == (10, 0, 0)


def let_time_pass(request, **span):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        ApprovalRequest.objects.filter(pk=request.pk).update(
            expires_at=request.expires_at - timedelta(**span)
        )
        cursor.execute("SET LOCAL session_replication_role = origin")


def test_a_request_ends_after_72_hours(team, asker, manager):
    request, later = a_request(asker, team), a_request(asker, team)
    assert request.expires_at - request.created_at == timedelta(hours=72)
    let_time_pass(request, hours=72)
    with pytest.raises(ApprovalClosed):
        approve(manager, request)
    assert approvals.expire() == 1
    assert approvals.expire() == 0
    request.refresh_from_db()
    later.refresh_from_db()
    assert (request.state, later.state) == ("expired", "open")


def test_small_credit_needs_nobody_else_until_the_day_is_full(team, asker):
    for _ in range(5):
        outcome = adjustments.correct(
            actor=asker, customer_id=team.pk, amount_usd=usd("100"), grounds=WHY, token=ids.new()
        )
        commit()
        assert outcome.is_done
    assert money_of(team) == (510, 0, 0)
    a_request(asker, team, "0.01")
    other = an_operator("billing_support")
    assert adjustments.correct(
        actor=other, customer_id=team.pk, amount_usd=usd("1"), grounds=WHY, token=ids.new()
    ).is_done


def test_the_same_form_sent_twice_posts_once(team, asker):
    token = ids.new()
    sent = [
        adjustments.correct(
            actor=asker, customer_id=team.pk, amount_usd=usd("7"), grounds=WHY, token=token
        )
        for _ in range(2)
    ]
    assert sent[0] == sent[1]
    assert money_of(team) == (17, 0, 0)
    assert BillingAudit.objects.filter(action="wallet.adjusted").count() == 1
