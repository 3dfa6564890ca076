"""How a paid call fails. What a vendor wrote is never quoted: only our own words leave."""

from __future__ import annotations

from ideplatform.kit.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ProviderOverloaded,
    ProviderRejected,
    Unavailable,
    Upstream,
)


class VendorError(Upstream):
    """The vendor answered with a failure; `vendor_status` is its HTTP status (0: none came)."""

    code, title = "vendor_error", "The provider answered with an error"
    vendor_status: int = 0


class BadKey(VendorError, ProviderRejected):
    code, title = "provider_bad_key", "The provider did not accept the stored key"


class AccessDenied(VendorError, ProviderRejected):
    code, title = "provider_access_denied", "The stored key may not do this at the provider"


class NoCredit(VendorError, ProviderRejected):
    code, title = "provider_no_credit", "The account at the provider has no credit left"


class ModelMissing(VendorError, ProviderRejected):
    code, title = "provider_model_missing", "The provider does not offer this model"


class CallRefused(VendorError, ProviderRejected):
    code, title = "provider_call_refused", "The provider refused the content of the call"


class ContextExceeded(CallRefused):
    code, title = "provider_context_exceeded", "The call is longer than the model can read"


class RateLimited(VendorError, ProviderOverloaded):
    code, title = "provider_rate_limited", "The provider's rate limit is reached"
    retryable = True


class Overloaded(VendorError, ProviderOverloaded):
    code, title = "provider_busy", "The provider is overloaded"
    retryable = True


class VendorBroken(VendorError):
    code, title = "provider_failed", "The provider failed on its side"
    retryable = True


class CallRepeated(Conflict):
    code, title = "call_repeated", "A call with this request id and attempt was dispatched before"


class PreviousResponseMissing(InvalidInput):
    code, title = "previous_response_not_found", "The response to continue is not stored (any more)"


class PreviousResponseRunning(Conflict):
    code, title = "previous_response_running", "The response to continue has not ended yet"


class ResponseAbandoned(Conflict):
    code, title = "response_abandoned", "This response was ended by somebody else"


class ModelNotFound(NotFound):
    code, title = "model_not_found", "No provider you may use offers this model"


class NoReadyTarget(Unavailable):
    """`targets` in the problem says for each candidate why it is not ready."""

    code, title = "no_ready_target", "No target of this model is ready"


class ProviderNotReady(Unavailable):
    code, title = "provider_not_ready", "The provider takes no further calls at the moment"


class KeyReplaced(ProviderNotReady):
    """The key of a planned route is gone: plan again, its account may have another."""

    code, title = "provider_key_replaced", "The provider's key was replaced at this moment"


class KeyRequired(InvalidInput):
    code, title = "provider_key_required", "A new address needs its key again"


class ReportKeyMissing(Conflict):
    code, title = "report_key_missing", "This account has no key that reads usage reports"


class NameTaken(Conflict):
    code, title = "provider_name_taken", "Another provider of this scope has this slug"
