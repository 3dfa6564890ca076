from django.apps import AppConfig
from django.db.models.signals import post_migrate


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from billing import checks
        from billing.services import operators, two_persons

        checks.register()
        # Permissions exist and the owner of the tables is at work only at this moment.
        post_migrate.connect(operators.on_migrated, sender=self)
        post_migrate.connect(two_persons.on_migrated, sender=self)
