"""The failures of runs, conversations and the agent socket."""

from __future__ import annotations

from ideplatform.kit.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MalformedRequest,
    PlatformError,
    TooLarge,
    TooManyRequests,
    Unavailable,
)


class MalformedFrame(MalformedRequest):
    code, title = "malformed_frame", "The message is not a frame of this protocol"


class FrameTooLarge(TooLarge):
    code, title = "frame_too_large", "A message may have at most 256 KiB"


class RunAlreadyActive(Conflict):
    code, title = "run_already_active", "This conversation has a run that has not ended"


class RunLimitReached(Forbidden):
    code, title = "run_limit_reached", "The run reached one of its limits"


class RunInterrupted(Unavailable):
    code, title = "run_interrupted", "The run was interrupted too often and was given up"


class UnknownAgent(InvalidInput):
    code, title = "unknown_agent", "There is no such agent"


class TooManySockets(TooManyRequests):
    code, title = "too_many_sockets", "Too many sockets are open"


class TooManyRuns(TooManyRequests):
    code, title = "too_many_runs", "This socket already follows as many runs as it may"


class SlowClient(TooManyRequests):
    code, title = "slow_client", "The client did not read for too long"


class StaleLease(PlatformError):
    """The lease moved: whoever holds this error must end without another word."""

    code, title, status = "stale_lease", "Another process owns this run now", 409
