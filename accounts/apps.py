from django.apps import AppConfig

from ideplatform.kit.crypto import WeakKey


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        """No process starts with a key that a stranger could know."""
        from accounts.services import keys

        try:
            keys.check()
        except WeakKey as weak:
            raise SystemExit(f"The environment is not safe: {weak}") from None
