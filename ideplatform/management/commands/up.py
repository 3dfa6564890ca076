"""``manage.py up``: see ``ideplatform.embedded``.

``manage.py`` itself calls it before Django loads, because there is no environment to
load Django with before the first start; this command serves ``help`` and ``call_command``.
"""

import argparse
import os
import sys

from django.core.management.base import BaseCommand

from ideplatform.embedded import options, up


class Command(BaseCommand):
    """Runs the whole platform on this machine."""

    help = "Run the whole platform on this machine: stores, web, workers, beat."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_arguments(parser, os.environ)

    def handle(self, *_args: object, **values: object) -> None:
        sys.exit(up.main(options.read(values)))
