"""REST, admin and dashboard for deployments that add a WSGI group."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")

from django.core.wsgi import get_wsgi_application

django_app = get_wsgi_application()

from ideplatform.kit.guards import WsgiGuard  # noqa: E402

application = WsgiGuard(django_app)
