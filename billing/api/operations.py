"""What each of billing's REST methods takes, answers and refuses (see `kit.openapi`)."""

from __future__ import annotations

from ideplatform.kit.openapi import Operation, describe

from billing.api import answers, export, serializers, views
from billing.errors import QueryTooBroad

describe(
    views.Usage,
    GET=Operation(
        "list_usage",
        "Usage events, newest first; with `Accept: text/csv` all of them as CSV.",
        answer=answers.UsageEvents,
        downloads=(export.MEDIA_TYPE,),
        query=serializers.UsageForm,
        problems=(QueryTooBroad,),
    ),
)
describe(
    views.Summary,
    GET=Operation(
        "summarise_usage",
        "What a window's usage adds up to, in groups and over time.",
        answer=answers.Summary,
        query=serializers.SummaryForm,
        problems=(QueryTooBroad,),
    ),
)
