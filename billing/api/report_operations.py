"""What exports, statements and prices take, answer and refuse (see `kit.openapi`)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from billing import errors
from billing.api import export as downloads
from billing.api import exports, prices, serializers, statements
from billing.types import ExportState, MarkupKind, PriceMatch, ServiceTier, UnitClass
from ideplatform.kit.openapi import Operation, describe


class Export(msgspec.Struct, kw_only=True):
    """Usage on its way into a file. `url` is where its lines are, once `state` is `done`."""

    id: UUID
    state: ExportState
    filters: dict[str, str | int]
    rows: int
    bytes: int
    sha256: str | None
    url: str | None
    problem: dict[str, object] | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None


class Exports(msgspec.Struct, kw_only=True):
    items: list[Export]
    next_cursor: str


class StatementHead(msgspec.Struct, kw_only=True):
    """A closed month. `sha256` is of all it says, and never changes."""

    organization_id: UUID
    month: str
    currency: str
    opening: Decimal
    closing: Decimal
    closed_at: datetime
    sha256: str


class Statements(msgspec.Struct, kw_only=True):
    items: list[StatementHead]
    next_cursor: str


class StatementLine(msgspec.Struct, kw_only=True):
    """What moved of one kind, signed; usage by model."""

    kind: str
    provider_type: str
    model: str
    count: int
    tokens_input: int
    tokens_output: int
    amount: Decimal


class Statement(msgspec.Struct, kw_only=True):
    """A month in UTC: `opening` + the lines = `closing`, exactly."""

    organization_id: UUID
    month: str
    currency: str
    opening: Decimal
    lines: list[StatementLine]
    closing: Decimal
    is_closed: bool
    closed_at: datetime | None
    sha256: str | None


class Price(msgspec.Struct, kw_only=True, rename={"start": "from", "end": "to"}):
    """USD for one unit of a class, in force in `[from, to)`."""

    id: UUID
    version: int
    provider_type: str
    match: PriceMatch
    model: str
    service_tier: ServiceTier
    region: str
    context_over_tokens: int
    unit_class: UnitClass
    unit_price: Decimal
    start: datetime | None
    end: datetime | None
    source: str


class Markup(msgspec.Struct, kw_only=True, rename={"start": "from", "end": "to"}):
    """What is charged beside the vendor's price; of each kind the highest priority that fits."""

    id: UUID
    kind: MarkupKind
    value: Decimal
    priority: int
    is_own: bool
    provider_type: str
    model_glob: str
    start: datetime
    end: datetime | None


class Prices(msgspec.Struct, kw_only=True):
    at: datetime
    currency: str
    items: list[Price]
    markups: list[Markup]
    next_cursor: str


describe(
    exports.Exports,
    GET=Operation(
        "list_usage_exports",
        "Your exports, newest first.",
        answer=Exports,
        query=exports.ExportsForm,
    ),
    POST=Operation(
        "export_usage",
        "Write usage events into a file; the same export asked again is one.",
        status=202,
        answer=Export,
        answer_headers={"Location": "Where the export's state is read."},
        body=serializers.FilterForm,
        example={"organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f"},
        problems=(errors.TooManyExports,),
    ),
)
describe(
    exports.Export,
    GET=Operation("read_usage_export", "How far an export is.", answer=Export),
)
describe(
    exports.Content,
    GET=Operation(
        "download_usage_export",
        "The lines of an export that is done.",
        downloads=(downloads.MEDIA_TYPE,),
        problems=(errors.ExportNotReady,),
    ),
)
describe(
    statements.Statements,
    GET=Operation(
        "list_statements",
        "Closed months, the latest first; without an organization named, your own.",
        answer=Statements,
        query=statements.StatementsForm,
    ),
)
describe(
    statements.Statement,
    GET=Operation(
        "read_statement",
        "A month (`2026-11`): closed as it was written, the present one as it stands.",
        answer=Statement,
        downloads=(downloads.MEDIA_TYPE,),
        query=statements.WhoseStatementForm,
    ),
)
describe(
    prices.Prices,
    GET=Operation(
        "list_prices",
        "Prices in force at a moment, and the markups beside them.",
        answer=Prices,
        query=prices.PricesForm,
    ),
)
