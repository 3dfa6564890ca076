"""What routing remembers: nothing is asked twice, and every change is known within a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from accounts.models import AccessChange
from accounts.services import feed
from billing.services import prices
from ideplatform.kit.db import database_now
from ideplatform.kit.egress import AnswerTimeout
from providers.models import CatalogueModel, ModelAlias, Provider, ProviderHealth, ProviderModel
from providers.services import aliases, health, remembered, routing
from providers.services.access import Home
from providers.types import CallContext, ProviderScope
from tests.factories import a_user, a_workspace, an_organization
from tests.providers.builders import a_call, a_context, a_provider
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("paid_door")
PLATFORM = Home(scope=ProviderScope.PLATFORM)


def _alias(name: str, *targets: str) -> ModelAlias:
    content = aliases.Content(targets=targets)
    return aliases.write(name=name, home=PLATFORM, content=content, owner_id=None)


def _known(context: CallContext) -> None:
    """Memory holds the context's directory."""
    eventually(feed.is_fresh)

    def is_held() -> bool:
        remembered.read(context)
        return remembered.recall(context) is not None

    eventually(is_held)


def _changes() -> set[tuple[object, ...]]:
    rows = AccessChange.objects.filter(topic="routes")
    return set(rows.values_list("user_id", "workspace_id", "organization_id"))


def test_a_plan_from_memory_is_the_same_and_asks_nothing(
    django_assert_num_queries: Callable[[int], Any],
) -> None:
    a_provider(slug="one", priority=1)
    a_provider(slug="two")
    _alias("team/two", "two/sim-echo", "one/sim-coder", "sim-echo")
    call = a_call(model="team/two")
    expected = routing.plan(call)
    _known(call.context)
    with django_assert_num_queries(0), pytest.raises(StopIteration) as planned:
        routing.planned(call).send(None)  # it ends without ever waiting for anything
    assert planned.value.value == expected
    assert [(route.slug, route.model) for route in expected] == [
        ("two", "sim-echo"),
        ("one", "sim-coder"),
        ("one", "sim-echo"),
    ]


def test_what_a_service_changes_its_process_forgets_at_once() -> None:
    context = a_context()
    row = a_provider(slug="ours")
    _known(context)
    with transaction.atomic():
        row.models.filter(model_id="sim-echo").update(is_enabled=False)
        _alias("team/any", "ours/sim-coder")
        assert remembered.recall(context) is not None  # not committed: nothing has changed
    assert remembered.recall(context) is None
    _known(context)
    health.save(health.failed(_route(row), AnswerTimeout(), at=database_now()))
    assert remembered.recall(context) is not None  # one failure is no verdict
    for _ in range(5):
        health.save(health.failed(_route(row), AnswerTimeout(), at=database_now()))
    assert remembered.recall(context) is None


def _route(row: Provider) -> Any:
    return routing.route_to(row, "sim-coder")


def test_a_home_s_change_is_news_to_that_home_alone() -> None:
    user, other = a_user(), a_user()
    mine, theirs = a_context(user), a_context(other)
    _known(mine)
    _known(theirs)
    a_provider(slug="mine", home=Home(scope=ProviderScope.USER), owner=user)
    assert remembered.recall(mine) is None
    assert remembered.recall(theirs) is not None


def test_inside_a_transaction_nothing_is_remembered() -> None:
    context = a_context()
    _known(context)
    a_provider(slug="real")
    with transaction.atomic():
        a_provider(slug="ghost")
        slugs = [row.slug for row in remembered.read(context).providers]
        transaction.set_rollback(True)
    assert sorted(slugs) == ["ghost", "real"]
    assert remembered.recall(context) is None
    assert [row.slug for row in remembered.read(context).providers] == ["real"]


WRITES: dict[str, Callable[[Provider, ModelAlias], object]] = {
    "provider": lambda row, _: Provider.objects.filter(pk=row.pk).update(is_enabled=False),
    "offer": lambda row, _: row.models.filter(model_id="sim-echo").update(is_enabled=False),
    "offer_added": lambda row, _: ProviderModel.objects.create(
        provider=row, model_id="new", source="manual"
    ),
    "offer_removed": lambda row, _: row.models.all().delete(),
    "alias": lambda _, alias: ModelAlias.objects.filter(pk=alias.pk).update(selected_model="x"),
    "target": lambda _, alias: alias.targets.update(model_ref="x/y"),
    "target_removed": lambda _, alias: alias.targets.all().delete(),
    "verdict": lambda row, _: ProviderHealth.objects.create(provider=row, state="open"),
    "catalogue": lambda _, __: CatalogueModel.objects.filter(model_id="sim-echo").update(
        display_name="Echo"
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_whoever_writes_it_a_trigger_tells_of_it(name: str) -> None:
    row = a_provider(slug="ours")
    alias = _alias("team/any", "ours/sim-echo")
    context = a_context()
    AccessChange.objects.all().delete()
    _known(context)
    WRITES[name](row, alias)
    assert _changes() == {(None, None, None)}
    eventually(lambda: remembered.recall(context) is None, within_s=1)


def test_what_is_noted_of_a_healthy_model_is_no_news() -> None:
    row = a_provider(slug="ours")
    ProviderHealth.objects.create(provider=row, model="sim-echo", state="closed")
    AccessChange.objects.all().delete()
    rows = ProviderHealth.objects.filter(provider=row)
    rows.update(latency_ms=7, checked_at=Now())
    assert _changes() == set()
    rows.update(until=Now())
    assert _changes() == {(None, None, None)}


def test_each_home_is_told_by_its_own_id() -> None:
    user = a_user()
    organization = an_organization(user)
    workspace = a_workspace(user)
    team = Home(scope=ProviderScope.ORGANIZATION, organization_id=organization.pk)
    room = Home(
        scope=ProviderScope.WORKSPACE,
        organization_id=workspace.organization_id,
        workspace_id=workspace.pk,
    )
    for home, told in (
        (team, (None, None, organization.pk)),
        (room, (None, workspace.pk, None)),
        (Home(scope=ProviderScope.USER), (user.pk, None, None)),
    ):
        AccessChange.objects.all().delete()
        a_provider(home=home, owner=user)
        assert _changes() == {told}


def test_a_published_version_is_told_and_the_newest_book_is_the_one_that_counts() -> None:
    AccessChange.objects.all().delete()
    before = feed.heard("prices")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_price_versions SET note = note")
    assert AccessChange.objects.filter(topic="prices").count() == 1
    eventually(feed.is_fresh)
    eventually(lambda: feed.heard("prices") != before, within_s=1)
    prices.current()
    assert prices.known().version_id == prices.tariff().book.version_id
