"""The platform's web process with the floors beside it: `python -m bench.site --fd N`.

Every floor runs in the same process behind the same middleware as ours, so that only what is
compared differs.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402 - settings are read after the set-up

from ideplatform import serving  # noqa: E402

settings.ROOT_URLCONF = "bench.routes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    descriptor = parser.parse_args().fd
    serving.serve(settings.ENV, host="127.0.0.1", port=0, descriptor=descriptor)


if __name__ == "__main__":
    main()
