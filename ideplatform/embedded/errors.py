"""What can keep the embedded platform from starting: a person reads these."""


class EmbeddedError(Exception):
    """The platform cannot start; the message says what to do about it."""

    exit_code = 1


class BinariesMissing(EmbeddedError):
    """A store has no server binary on this machine."""


class PartFailed(EmbeddedError):
    """A store did not start; the message holds its own last words."""


class AlreadyRunning(EmbeddedError):
    """Another supervisor holds the data directory."""

    exit_code = 3


class SecretsLost(EmbeddedError):
    """There is data that the missing keys had sealed."""
