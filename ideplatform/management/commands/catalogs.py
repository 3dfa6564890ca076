"""`manage.py catalogs`: compile the translations, or check that they are compiled."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from ideplatform.management import catalogs


class Command(BaseCommand):
    help = "Compile locale/*/LC_MESSAGES/django.po."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="only say what has drifted")

    def handle(self, *args: object, **options: object) -> None:
        if options["check"]:
            if drifted := catalogs.drifted():
                names = ", ".join(str(path) for path in drifted)
                raise CommandError(f"compile anew with `make catalogs`: {names}")
            return
        for path in catalogs.write():
            self.stdout.write(str(path))
