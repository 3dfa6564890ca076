"""`manage.py prepare`: prices, models, aliases and the platform's own accounts; repeatable."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from ideplatform.management import preparation


class Command(BaseCommand):
    help = "Fill a migrated database with what every call needs; run it at each release."

    def handle(self, *args: object, **options: object) -> None:
        preparation.prepare()
