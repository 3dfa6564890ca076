"""A Django with the platform's third-party apps and nothing of ours: the floor of `bench.startup`.

`python -m bench.stock PORT` serves one view that asks the database.
"""

from __future__ import annotations

import os
import sys
from urllib.parse import urlsplit

import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


def ready(_request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse(b"{}", content_type="application/json")


urlpatterns = [path("", ready)]


def _configure() -> None:
    address = urlsplit(os.environ["DATABASE_URL"])
    settings.configure(
        SECRET_KEY="a-floor-signs-nothing",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.postgres",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "channels",
            "rest_framework",
            "drf_spectacular",
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": address.path.lstrip("/"),
                "USER": address.username,
                "PASSWORD": address.password,
                "HOST": address.hostname,
                "PORT": address.port,
            }
        },
    )


if __name__ == "__main__":
    _configure()
    uvicorn.run(
        get_asgi_application(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        log_level="error",
    )
