"""`manage.py load_catalogue`: the shipped catalogue and aliases into their tables."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from providers.services import aliases, catalogue


class Command(BaseCommand):
    help = "Load the catalogue of vendors' models and the missing platform aliases; repeatable."

    def handle(self, *_args: object, **_options: object) -> None:
        models = catalogue.load()
        created = aliases.ensure_defaults()
        self.stdout.write(f"{models} models in the catalogue, {created} aliases created")
