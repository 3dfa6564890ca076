"""Who pays: customers, their wallets, and the credit they begin with."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.models import Organization, OrganizationMembership
from accounts.types import OrganizationKind, OrganizationRole
from billing.models import Customer, LedgerAccount
from billing.services import ledger
from billing.services.retries import retried
from billing.types import AccountKind, LotKind
from ideplatform.kit import money


def ensure(organization_ids: Iterable[UUID]) -> None:
    """Make customers of organizations that have none yet, with wallets and welcome credit.

    Called by whatever first moves or reserves money, so an organization that never did can still
    be deleted. Safe to call at once from anywhere.
    """
    wanted = sorted(set(organization_ids))
    wallets = LedgerAccount.objects.filter(customer__in=wanted, kind=AccountKind.WALLET)
    known = set(wallets.values_list("customer", flat=True))
    for organization_id in wanted:
        if organization_id not in known:
            retried(functools.partial(_open, organization_id))


@transaction.atomic
def _open(organization_id: UUID) -> None:
    rows = Customer.objects.bulk_create(
        [Customer(organization_id=organization_id)], ignore_conflicts=True
    )
    with connection.cursor() as cursor:
        # Whoever comes second waits here for the first one's wallets and credit.
        cursor.execute(_WALLETS, [rows[0].pk])
        if cursor.rowcount == 0:
            return
    credit, key = welcome_of(organization_id)
    if credit:
        ledger.credit(
            customer_id=organization_id,
            amount_usd=credit,
            kind=LotKind.PROMO,
            key=key,
            reason="Welcome credit",
        )


def welcome_of(organization_id: UUID) -> tuple[Decimal, str]:
    """The credit a new customer begins with, USD, and the key that lets it be given once.

    Once per person for the personal organization, and once for the first team that has them as
    its owner: whoever founds many teams is not paid for each.
    """
    amount: Decimal = settings.ENV.billing_welcome_credit_usd
    organization = Organization.objects.filter(pk=organization_id).first()
    founder = _founder(organization)
    if organization is None or founder is None:
        return money.ZERO, ""
    key = f"welcome:{organization.kind}:{founder}"
    return (money.ZERO if ledger.exists(key) else money.quantise(amount)), key


def _founder(organization: Organization | None) -> UUID | None:
    if organization is None or organization.kind == OrganizationKind.PLATFORM:
        return None
    if organization.personal_user_id is not None:
        return organization.personal_user_id
    owners = OrganizationMembership.objects.filter(
        organization=organization, role=OrganizationRole.OWNER
    )
    return owners.order_by("created_at", "pk").values_list("user_id", flat=True).first()


_WALLETS: Final = """
INSERT INTO billing_ledger_accounts (id, customer_id, kind, currency, posted, held, seq)
SELECT gen_random_uuid(), %s, kind, 'USD', 0, 0, 0 FROM unnest(ARRAY['wallet', 'wallet_promo']) kind
ON CONFLICT DO NOTHING
"""
