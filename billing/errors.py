"""What billing refuses."""

from __future__ import annotations

from ideplatform.kit.errors import Conflict, InvalidInput


class RequestReused(Conflict):
    """The same request and attempt arrived with other facts."""

    code, title = "request_reused", "This request was already recorded with other facts"


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


class QueryTooBroad(InvalidInput):
    """The answer would take too long or be too long; a narrower question will do."""

    code, title = "query_too_broad", "Ask for a shorter window or fewer groups"
