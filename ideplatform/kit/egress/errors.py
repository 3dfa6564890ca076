"""How an outbound call fails. None of these says why: that would make us a port scanner."""

from __future__ import annotations

from ideplatform.kit.errors import ProviderTimeout, Upstream


class NotReachable(Upstream):
    """Blocked, unresolvable, refused or no connection in time: one identical answer."""

    code, title = "not_reachable", "The address cannot be reached"
    retryable = True


class TlsFailed(Upstream):
    code, title = "tls", "No trusted TLS connection could be made"


class AnswerTimeout(ProviderTimeout):
    """The connection stood, but no first byte, no next byte or no end came in time."""

    code, title = "timeout", "The other side did not answer in time"


class AnswerBroken(Upstream):
    """The answer was cut, or is not HTTP."""

    code, title = "bad_protocol", "The other side's answer was cut or malformed"
    retryable = True


class AnswerTooLarge(Upstream):
    code, title = "answer_too_large", "The other side's answer is too large"
