"""`manage.py import_prices`: compare a price list with the book, draft it.

The first list ever is published from here; after that two people do it in the console.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from billing import price_files
from billing.price_files import PriceList
from billing.services import price_versions, prices
from billing.services.price_versions import Change, Difference
from ideplatform.kit.errors import PlatformError


class Command(BaseCommand):
    help = (
        "Compare a price list with the price book and print the difference; "
        "--draft keeps it for review, --publish puts it in force where no prices ever were, and "
        "is --draft elsewhere: two people publish it in the console. Run twice, it changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file",
            action="append",
            type=Path,
            metavar="PATH",
            help="a price list (may be repeated); default: the lists of billing/data",
        )
        parser.add_argument("--draft", action="store_true", help="write a draft version")
        parser.add_argument(
            "--publish", action="store_true", help="draft, and publish the first list ever"
        )
        parser.add_argument(
            "--effective-from",
            type=_moment,
            metavar="TIME",
            help="ISO 8601 with an offset; default: now",
        )

    def handle(self, **options: object) -> None:
        try:
            self._import(**options)
        except PlatformError as error:
            lines = [f"  {fault.pointer}: {fault.detail}" for fault in error.errors]
            raise CommandError("\n".join([error.detail, *lines])) from None

    @transaction.atomic
    def _import(self, **options: object) -> None:
        with connection.cursor() as cursor:  # thousands of prices may take longer than a request
            cursor.execute("SET LOCAL transaction_timeout = 0")
        listed = _read(options["file"])
        if options["verbosity"]:
            self._show(price_versions.compare(listed))
        if not options["draft"] and not options["publish"]:
            return
        version_id = price_versions.draft(listed=listed, note=_note(options["file"]))
        if version_id is None:
            self._say("Nothing to do: the price book says the same.", options)
        elif options["publish"] and not prices.is_published():
            number = price_versions.publish(
                version_id=version_id,
                effective_from=_optional_moment(options["effective_from"]),
            )
            self._say(f"Published price version {number}.", options)
        else:
            self._say(f"Drafted price version {version_id}.", options)

    def _say(self, line: str, options: Mapping[str, object]) -> None:
        if options["verbosity"]:
            self.stdout.write(line)

    def _show(self, difference: Difference) -> None:
        for change in difference.changes:
            self.stdout.write(_line(change))
        for (provider_type, alias), model in difference.aliases.items():
            self.stdout.write(f"= {provider_type} {alias} is {model}")
        new = sum(change.was is None for change in difference.changes)
        self.stdout.write(
            f"{new} new, {len(difference.changes) - new} changed, "
            f"{difference.unchanged} unchanged, {difference.absent} not in the list."
        )


def _line(change: Change) -> str:
    key = change.key
    context = f" over {key.context_over_tokens}" if key.context_over_tokens else ""
    name = f"{key.provider_type} {key.pattern} {key.service_tier}{context} {key.unit_class}"
    if change.was is None:
        return f"+ {name} {change.now:f}"
    mark = "!" if change.is_jump else "~"
    return f"{mark} {name} {change.was:f} -> {change.now:f}"


def _read(files: object) -> PriceList:
    if not isinstance(files, list):
        return prices.shipped()
    try:
        return price_files.read({path.name: path.read_text("utf-8") for path in files})
    except (OSError, UnicodeDecodeError) as unreadable:
        raise CommandError("A price list could not be read as UTF-8 text.") from unreadable


def _note(files: object) -> str:
    names = [path.name for path in files] if isinstance(files, list) else list(prices.SHIPPED)
    return "Imported from " + ", ".join(names)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs its offset")
    return moment.astimezone(UTC)


def _optional_moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None
