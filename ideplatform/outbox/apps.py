from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "ideplatform.outbox"
    label = "outbox"
