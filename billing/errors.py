"""What billing refuses."""

from __future__ import annotations

from ideplatform.kit.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MalformedRequest,
    PaymentRequired,
    TooLarge,
    Unavailable,
    Upstream,
)


class RequestReused(Conflict):
    """The same request and attempt arrived with other facts."""

    code, title = "request_reused", "This request was already recorded with other facts"


class PayloadMismatch(Conflict):
    """The same request and attempt was reported before with other facts, or is the platform's."""

    code, title = "payload_mismatch", "This request was already recorded with other facts"


class PlatformUsageMetered(Forbidden):
    """The platform made the call, and counted it."""

    code = "platform_usage_is_metered_by_server"
    title = "Usage of this provider is counted by the platform alone"


class TooManyExports(Conflict):
    code, title = "too_many_exports", "Wait until one of your exports has ended"


class ExportNotReady(Conflict):
    code, title = "export_not_ready", "The export is not written yet, or failed"
    retryable = True


class ExportTooLarge(TooLarge):
    """More events than an export may hold."""

    code, title = "export_too_large", "Ask for a shorter window"


class ModelUnpriced(Conflict):
    """The platform would pay, and nobody knows how much."""

    code, title = "model_unpriced", "This model has no price, so the platform cannot pay for it"


class PriceListRejected(InvalidInput):
    """A price list could not be read completely; nothing of it was taken."""

    code, title = "price_list_rejected", "The price list is not valid"


class PriceJump(Conflict):
    """A price moved so far that it is probably a mistake."""

    code, title = "price_jump", "A price changed too much to be published unseen"


class PriceVersionConflict(Conflict):
    """The version is not a draft any more, or its prices would overlap others in time."""

    code, title = "price_version_conflict", "The price version cannot be published"


class MarkupConflict(Conflict):
    """Another rule of the same calls is planned, or the rule has ended already."""

    code, title = "markup_conflict", "The markup cannot be changed so"


class MarkupJump(Conflict):
    """A markup that is probably a mistake."""

    code, title = "markup_jump", "A markup changed too much to be asked for unseen"


class QueryTooBroad(InvalidInput):
    """The answer would take too long or be too long; a narrower question will do."""

    code, title = "query_too_broad", "Ask for a shorter window or fewer groups"


class InsufficientCredits(PaymentRequired):
    """The wallet does not cover the call. `remedy_hint`: top_up."""

    code, title = "insufficient_credits", "The balance does not cover this call"


class BudgetExceeded(PaymentRequired):
    """A budget's hard limit is reached; `degrade_to` names a cheaper model where one is set.

    `approval_id` names what whoever manages the money can grant, where the budget lets them.
    """

    code, title = "budget_exceeded", "A budget's limit is reached"


class ExceedsLimit(PaymentRequired):
    """One call alone could cost more than its whole limit. `remedy_hint`: shorten_call."""

    code, title = "exceeds_limit", "This call alone could cost more than its limit allows"


class InFlightExhausted(PaymentRequired):
    """Calls that run hold what is left; some of it comes back when they end."""

    code, title = "in_flight_exhausted", "Calls that are running hold what is left"
    retryable = True


class CustomerParked(PaymentRequired):
    code, title = "customer_parked", "Payment is on hold for this organization"


class CustomerClosed(PaymentRequired):
    code, title = "customer_closed", "This organization's account is closed"


class HoldEnded(Conflict):
    """The hold was settled, voided or expired: its money is no longer reserved."""

    code, title = "hold_ended", "What was reserved for this call is no longer held"


class TxnReused(Conflict):
    code, title = "txn_reused", "This transaction key was used for another movement of money"


class TxnUnbalanced(InvalidInput):
    code, title = "txn_unbalanced", "The legs of a transaction must sum to zero"


class AlreadyReversed(Conflict):
    code, title = "already_reversed", "This transaction was reversed before"


class CorrectionReused(Conflict):
    code, title = "correction_reused", "This key was used for another correction"


class CorrectionNotApproved(Conflict):
    """Nobody else agreed, or the call was never billed. `remedy_hint`: ask a second person."""

    code, title = "correction_not_approved", "What a customer pays changes with approval only"


class CorrectionTooLarge(InvalidInput):
    code, title = "correction_too_large", "A correction cannot leave less than nothing"


class CorrectionUnpriced(Conflict):
    code, title = "correction_unpriced", "These counts have no price; give the costs yourself"


class UsageMovedOtherwise(Conflict):
    """The call's money was reversed by hand, so what is left to correct needs a person's eye."""

    code, title = "usage_moved_otherwise", "The money of this call was already moved otherwise"


class SecondPersonRequired(Conflict):
    """Nobody does this alone; `approvals.propose` asks for it."""

    code, title = "second_person_required", "This needs the approval of a second person"


class SelfApproval(Forbidden):
    code, title = "self_approval", "Nobody approves what they asked for themselves"


class ApprovalClosed(Conflict):
    code, title = "approval_closed", "This request was decided, or its time is over"


class ApprovalStale(Conflict):
    """What would be done is not what the approver saw; it is asked for again, and read again."""

    code, title = "approval_stale", "The request is not the one that was shown"


class StripeNotConfigured(Unavailable):
    code, title = "stripe_not_configured", "This platform takes no payments"
    retryable = False


class StripeUnavailable(Unavailable):
    """Stripe did not answer, or not usefully; what was asked of it may still have happened."""

    code, title = "stripe_unavailable", "The payment service does not answer"


class StripeRejected(Upstream):
    """Stripe refused for good what we asked for."""

    code, title = "stripe_rejected", "The payment service refused the request"


class PaymentDeclined(PaymentRequired):
    code, title = "payment_declined", "The card was declined"


class PaymentMismatch(Conflict):
    """A payment names a top-up, but is not what was asked for. An operator decides."""

    code, title = "payment_mismatch", "The payment is not the one that was asked for"


class PaymentMethodMissing(Conflict):
    code, title = "payment_method_missing", "No card is saved; top up once and save it"


class NotRefundable(Conflict):
    code, title = "not_refundable", "No more than what was paid and not returned can be refunded"


class WebhookRefused(MalformedRequest):
    """The signature is not Stripe's, or not of these minutes."""

    code, title = "webhook_refused", "The message is not signed, or is not of this moment"


class WebhookOfOtherMode(MalformedRequest):
    code, title = "webhook_of_other_mode", "The message is of the other of Stripe's two modes"


class TooManyBudgets(Conflict):
    code, title = "too_many_budgets", "An organization may have at most 100 budgets"


class BudgetInherited(Conflict):
    """Other budgets take their limit from this one; change or end them first."""

    code, title = "budget_inherited", "Other budgets take their limit from this one"


class BudgetApprovalClosed(Conflict):
    code, title = "budget_approval_closed", "This was decided, or its window is over"


class NoReport(Conflict):
    code, title = "no_report", "The vendors of these accounts publish no usage reports"


class ReportMalformed(InvalidInput):
    """Nothing of the report was kept."""

    code, title = "report_malformed", "The report is not of the form its vendor publishes"


class LineDecided(Conflict):
    """A person decided it, a later comparison replaced it, or it is of a dry run."""

    code, title = "line_decided", "This line is not to be decided any more"


class LineUnsettled(Conflict):
    """More of the day may still arrive on either side; the line is compared again then."""

    code, title = "line_unsettled", "The vendor's report of this day is not complete yet"


class NothingToAdjust(Conflict):
    """The difference is of no event of ours: accept it as our cost, ignore or dispute it."""

    code, title = "nothing_to_adjust", "No usage event can be brought to the vendor's figure"
