"""Fills the ports, wires subscriptions and registers probes, in every process."""

from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "ideplatform"
    label = "ideplatform"

    def ready(self) -> None:
        from ideplatform import ports, probes, subscriptions

        ports.fill()
        subscriptions.wire()
        probes.register()
