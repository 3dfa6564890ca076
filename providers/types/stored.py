"""What a client can come back to: responses that are kept."""

from __future__ import annotations

from enum import StrEnum


class ResponseState(StrEnum):
    """The life of a stored response, in OpenAI's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self not in RUNNING_STATES


RUNNING_STATES = (ResponseState.QUEUED, ResponseState.IN_PROGRESS)
