"""Django's admin with our site; apart from `kit.admin`, which needs the apps to be loaded."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AdminConfig):
    default_site = "ideplatform.kit.admin.Console"
