"""What a vendor refuses, in neutral words; ``envelopes`` puts it into each vendor's own."""

from enum import StrEnum


class Kind(StrEnum):
    """Why a vendor says no."""

    MISSING_KEY = "missing_key"
    BAD_KEY = "bad_key"
    FORBIDDEN = "forbidden"
    NO_CREDIT = "no_credit"
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    MODEL_MISSING = "model_missing"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    INTERNAL = "internal"
    OVERLOADED = "overloaded"


KIND_OF_STATUS = {
    400: Kind.INVALID,
    401: Kind.BAD_KEY,
    402: Kind.NO_CREDIT,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    413: Kind.TOO_LARGE,
    429: Kind.RATE_LIMITED,
    500: Kind.INTERNAL,
    502: Kind.INTERNAL,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}


class VendorFailure(Exception):
    """A refusal a vendor would answer; ``status`` overrides the vendor's usual one."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        at: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.at = at
        self.status = status
        self.retry_after_s = retry_after_s


def invalid(message: str, *, at: str | None = None) -> VendorFailure:
    """The caller's mistake: HTTP 400 at every vendor."""
    return VendorFailure(Kind.INVALID, message, at=at)


def scripted(status: int, message: str | None, retry_after_s: float | None) -> VendorFailure:
    """The failure a script asks for by its HTTP status."""
    fallback = Kind.INVALID if status < 500 else Kind.INTERNAL
    kind = KIND_OF_STATUS.get(status, fallback)
    words = message or f"The simulated provider was told to answer {status}."
    return VendorFailure(kind, words, status=status, retry_after_s=retry_after_s)
