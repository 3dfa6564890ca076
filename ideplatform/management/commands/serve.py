"""``manage.py serve``: the production web entry."""

import argparse

from django.conf import settings
from django.core.management.base import BaseCommand

from ideplatform import serving


class Command(BaseCommand):
    """Serves HTTP and WebSockets until a signal, then drains."""

    help = "Serve HTTP and WebSockets (uvicorn, uvloop) until SIGTERM, then drain."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on")
        parser.add_argument("--fd", type=int, help="a listening socket this process inherited")

    def handle(
        self, *_args: object, host: str, port: int, fd: int | None, **_options: object
    ) -> None:
        serving.serve(settings.ENV, host=host, port=port, descriptor=fd)
