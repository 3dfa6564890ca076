"""What a database needs before its first call: prices, models, aliases, the platform's accounts.

Repeatable: each step changes only what is missing or has moved.
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.core.management import call_command

from accounts.models import Organization
from accounts.types import Actor, OrganizationKind
from billing.types import BillingMode
from ideplatform.kit.crypto import Secret
from providers import selectors
from providers.services import aliases, catalogue, providers
from providers.services.access import Home
from providers.services.providers import Changes, Draft
from providers.types import ProviderScope, ProviderType

PLATFORM = Home(scope=ProviderScope.PLATFORM)
SIMULATED_SLUG = "simulated"
SIMULATED_MODELS = ("sim-echo", "sim-coder", "sim-embed")
OPERATOR = Actor(user_id=UUID(int=0), is_staff=True, is_superuser=True)
"""The one who sets up the machine; audit rows name this id."""


def prepare() -> None:
    """Bring the database to where calls can be made, priced and metered."""
    Organization.objects.get_or_create(
        kind=OrganizationKind.PLATFORM, defaults={"name": "Platform", "slug": "platform"}
    )
    call_command("import_prices", "--publish", verbosity=0)
    catalogue.load()
    aliases.ensure_defaults()
    _vendor_accounts()
    _simulated_account()


def _vendor_accounts() -> None:
    """An account of the platform for each vendor key of the environment."""
    env = settings.ENV
    keys = {
        ProviderType.OPENAI: env.openai_api_key,
        ProviderType.ANTHROPIC: env.anthropic_api_key,
        ProviderType.GOOGLE: env.google_api_key,
    }
    for vendor, key in keys.items():
        if key and not selectors.platform_account(vendor.value):
            draft = Draft(
                name=vendor.value.capitalize(),
                slug=vendor.value,
                type=vendor,
                api_key=Secret(key.get_secret_value()),
                billing_mode=BillingMode.PLATFORM,
            )
            providers.add(home=PLATFORM, owner_id=None, draft=draft)


def _simulated_account() -> None:
    """An account at the simulated provider, where one runs; it follows a changed address."""
    address = settings.ENV.simulated_provider_url
    if not address:
        return
    config = {"base_url": f"{address}/v1"}
    known = selectors.platform_account(SIMULATED_SLUG)
    if known is None:
        draft = Draft(
            name="Simulated provider",
            slug=SIMULATED_SLUG,
            type=ProviderType.OPENAI_COMPATIBLE,
            config=config,
            api_key=Secret("simulated-key"),
            billing_mode=BillingMode.PLATFORM,
            models=SIMULATED_MODELS,
        )
        providers.add(home=PLATFORM, owner_id=None, draft=draft)
    elif known.config.get("base_url") != config["base_url"]:
        changes = Changes(config=config, api_key=Secret("simulated-key"))
        providers.update(actor=OPERATOR, provider_id=known.pk, changes=changes, version=None)
