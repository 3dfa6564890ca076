"""`manage.py vault_rewrap --to N`: wrap every data key with master key N while the platform serves.

First give every process a VAULT_MASTER_KEYS that names N beside the former key; afterwards the
former key can be removed.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.services import keys, vault


class Command(BaseCommand):
    help = "Wrap the vault's data keys with master key N (the highest in VAULT_MASTER_KEYS)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=int, required=True, metavar="N")

    def handle(self, *args: Any, to: int, **options: Any) -> None:
        if keys.masters().current != to:
            raise CommandError(f"the highest version in VAULT_MASTER_KEYS is not {to}")
        done = 0
        while count := vault.rewrap_batch(version=to):
            done += count
        left = vault.remaining(version=to)
        self.stdout.write(f"rewrapped {done} data keys, {left} left")
        if left:
            raise CommandError("another process holds the rest; run it again")
