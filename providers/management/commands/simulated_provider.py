"""``manage.py simulated_provider``: the simulated provider as a process of the platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from providers.simulator import command
from providers.simulator.app import PRODUCTION_REFUSAL, NotInProduction

PRICE_FILES = ("model_prices_openai_anthropic_gemini.json", "simulator_prices.json")


class Command(BaseCommand):
    """Serves until it is told to stop; refuses production."""

    help = "Run the simulated provider: OpenAI, Anthropic and Gemini on the wire, scriptable."
    requires_system_checks: list[str] = []  # it needs no database

    def add_arguments(self, parser: CommandParser) -> None:
        command.add_arguments(parser)

    def handle(self, **options: Any) -> None:
        prices = options["prices_file"] or _price_files()
        try:
            command.run(
                host=options["host"],
                port=options["port"],
                ledger_file=options["ledger_file"],
                prices_files=prices,
                announce=self._announce,
                ends_with_stdin=options["ends_with_stdin"],
            )
        except NotInProduction as refusal:
            raise CommandError(PRODUCTION_REFUSAL) from refusal
        except OSError as error:
            raise CommandError(f"cannot serve on port {options['port']}: {error}") from error

    def _announce(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _price_files() -> list[Path]:
    return [Path(settings.BASE_DIR) / "billing" / "data" / name for name in PRICE_FILES]
