#!/usr/bin/env python
"""Run a management command of the platform: `manage.py help` lists them."""

import os
import sys

from ideplatform.embedded import environment

if __name__ == "__main__":
    if sys.argv[1:2] == ["up"]:  # makes the environment that Django needs, so it comes first
        from ideplatform.embedded import options, up

        sys.exit(up.main(options.parse(sys.argv[2:])))
    environment.adopt(os.environ)
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")
    execute_from_command_line(sys.argv)
