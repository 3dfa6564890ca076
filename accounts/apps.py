from django.apps import AppConfig
from django.conf import settings

from ideplatform.kit.crypto import WeakKey


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        """No process starts with a key that a stranger could know, or a promise it cannot keep."""
        from accounts.services import keys

        if settings.ENV.email_verification == "mandatory":
            raise SystemExit("EMAIL_VERIFICATION=mandatory: this release verifies no addresses")

        try:
            keys.check()
        except WeakKey as weak:
            raise SystemExit(f"The environment is not safe: {weak}") from None
