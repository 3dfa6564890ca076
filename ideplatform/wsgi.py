"""REST, admin and dashboard for deployments that add a WSGI group."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")
application = get_wsgi_application()
