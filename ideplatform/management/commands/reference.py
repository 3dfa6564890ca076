"""`manage.py reference`: write the generated documents, or `--check` that none drifted."""

from __future__ import annotations

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from ideplatform.management import reference


class Command(BaseCommand):
    help = "Generate docs/reference/ and .env.example from the code."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="fail when a file drifted")

    def handle(self, *args: object, **options: object) -> None:
        if not options["check"]:
            reference.write()
        elif names := reference.drifted():
            raise CommandError(f"drifted, run `make docs`: {', '.join(names)}")
