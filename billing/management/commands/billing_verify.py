"""`manage.py billing_verify`: does the money add up? Names every row that does not."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError

from billing.services import verification


class Command(BaseCommand):
    help = "Check the invariants of ledger, holds, budgets and usage; fails when one is broken."

    def handle(self, *args: object, **options: object) -> None:
        found = verification.breaches()
        broken = {breach.code for breach in found}
        for invariant in verification.INVARIANTS:
            verdict = "BROKEN" if invariant.code in broken else "ok"
            self.stdout.write(f"{invariant.code}  {verdict:6}  {invariant.title}")
            for breach in found:
                if breach.code == invariant.code:
                    self.stdout.write(f"    {breach.row}")
        if found:
            raise CommandError(f"{len(found)} rows are broken")
