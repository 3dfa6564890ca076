def hit(stage: str) -> None:
    """Replaced presently."""
