"""Fills the ports through which a lower app reaches an upper one."""


def fill() -> None:
    """Called once per process by the project's AppConfig."""
