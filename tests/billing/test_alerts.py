"""A budget that was reached is told once to each person whom it concerns."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.core import mail

from accounts.types import OrganizationRole
from billing import tasks
from billing.models import BudgetAlert, Notice, ViewPreference
from billing.selectors import notices as reads
from billing.services import alerts, holds, notices, usage
from ideplatform.kit.errors import NotFound
from ideplatform.outbox.models import Fact
from tests.billing.calls import SIMULATOR, publish, usd
from tests.billing.funds import a_budget, a_customer, a_reservation, the_call
from tests.factories import a_user, an_actor, join_organization


class House:
    """A team whose budget of 0.0028 USD tells at half of it, and at the soft limit."""

    def __init__(self):
        publish(SIMULATOR)
        self.team = a_customer(paid="10")
        self.people = {role: a_user() for role in OrganizationRole}
        for role, person in self.people.items():
            join_organization(self.team, person, role)
        self.budget = a_budget(
            self.team,
            "0.0028",
            name="Every\nmonth",
            alert_steps=[50, 100],
            created_by_id=self.people[OrganizationRole.MEMBER].pk,
        )

    def call(self) -> None:
        """Costs 0.0014 USD."""
        held = a_reservation(self.team, "0.0014")
        holds.reserve(held)
        usage.settle(the_call(held))


@pytest.fixture
def house(db):
    return House()


def payloads() -> list[dict[str, str]]:
    return [fact.payload for fact in Fact.objects.filter(topic="budget.reached").order_by("id")]


def told() -> set[str]:
    return {address for message in mail.outbox for address in message.to}


def test_who_manages_the_money_and_who_set_the_budget_is_told_once(house):
    house.call()
    (payload,) = payloads()
    for _ in range(3):
        tasks.tell_budget_alert(payload)
    people = house.people
    named = (OrganizationRole.OWNER, OrganizationRole.BILLING, OrganizationRole.MEMBER)
    assert told() == {people[role].email for role in named}
    assert len(mail.outbox) == Notice.objects.count() == 3
    assert Notice.objects.filter(mailed_at__isnull=True).count() == 0
    message = mail.outbox[0]
    assert message.subject == f"50 % of the budget Every month of {house.team.name}"
    assert "0.001400000000 USD" in message.body
    assert "0.002800000000 USD" in message.body


def test_each_step_is_told_by_itself_and_never_again(house):
    house.call()
    house.call()
    first, second = payloads()
    for payload in (second, first, second):
        tasks.tell_budget_alert(payload)
    assert len(mail.outbox) == 6
    assert BudgetAlert.objects.count() == 2
    host = urlsplit(django_settings.ENV.public_url).hostname
    assert {message.extra_headers["Message-ID"] for message in mail.outbox} == {
        f"<{pk}@{host}>" for pk in Notice.objects.values_list("pk", flat=True)
    }


def test_who_left_is_told_nothing(house):
    house.call()
    house.team.memberships.exclude(role=OrganizationRole.OWNER).delete()
    house.people[OrganizationRole.OWNER].is_active = False
    house.people[OrganizationRole.OWNER].save()
    tasks.tell_budget_alert(payloads()[0])
    assert (mail.outbox, Notice.objects.count()) == ([], 0)


def test_who_wants_no_mails_sees_the_notice_alone(house):
    owner = house.people[OrganizationRole.OWNER]
    ViewPreference.objects.create(user=owner, gets_alerts=False)
    house.call()
    tasks.tell_budget_alert(payloads()[0])
    tasks.mail_notices()
    assert owner.email not in told()
    assert Notice.objects.filter(user=owner).count() == 1


def test_a_mail_that_failed_is_sent_later_and_once(house, settings, unused_tcp_port_factory):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", unused_tcp_port_factory()
    house.call()
    tasks.tell_budget_alert(payloads()[0])
    assert Notice.objects.filter(mailed_at__isnull=True).count() == 3
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    tasks.mail_notices()
    assert alerts.mail_due() == 0
    assert len(mail.outbox) == 3


def test_a_notice_is_shown_until_it_is_read_by_its_person(house):
    house.call()
    tasks.tell_budget_alert(payloads()[0])
    owner = an_actor(house.people[OrganizationRole.OWNER])
    other = an_actor(house.people[OrganizationRole.BILLING])
    (notice,) = reads.unread(owner, house.team.pk)
    assert (notice.alert.step, notice.alert.spent) == (50, usd("0.0014"))
    with pytest.raises(NotFound):
        notices.read(actor=other, notice_id=notice.pk)
    notices.read(actor=owner, notice_id=notice.pk)
    notices.read(actor=owner, notice_id=notice.pk)
    assert reads.unread(owner) == []
    assert len(reads.unread(other)) == 1
