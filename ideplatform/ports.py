"""Fills the ports through which a lower app reaches an upper one."""

from agents.models_port import Port
from providers.services import agent_models


def fill() -> None:
    """Called once per process by the project's AppConfig."""
    agent_models.fill(Port())
