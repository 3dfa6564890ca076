"""What each of billing's REST methods takes, answers and refuses (see `kit.openapi`)."""

from __future__ import annotations

from billing.api import (
    answers,
    export,
    money_serializers,
    report_operations,
    report_serializers,
    serializers,
    views,
)
from billing.errors import (
    BudgetApprovalClosed,
    BudgetInherited,
    PayloadMismatch,
    PlatformUsageMetered,
    QueryTooBroad,
    TooManyBudgets,
    TooManyExports,
)
from ideplatform.kit.openapi import Operation, describe

REPORT = {
    "request_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
    "provider_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
    "model": "sim-echo",
    "tokens_input": 1000,
    "tokens_output": 200,
    "tokens_cache_read": 400,
    "status": 200,
}
describe(
    views.Usage,
    GET=Operation(
        "list_usage",
        "Usage events, newest first; with `Accept: text/csv` all of them as CSV.",
        answer=answers.UsageEvents,
        downloads=(export.MEDIA_TYPE,),
        answers={202: report_operations.Export},
        query=serializers.UsageForm,
        problems=(QueryTooBroad, TooManyExports),
    ),
    POST=Operation(
        "report_usage",
        "Report calls with your own vendor key: one, or up to 500 as `events`.",
        description="Priced by the platform and billed nothing. Costs and the payer are not"
        " yours to say: such fields are refused. A batch is answered 207, each event by itself.",
        status=201,
        answer=answers.UsageEvent,
        answers={200: answers.UsageEvent, 207: answers.ReportedUsages},
        body=report_serializers.ReportsForm,
        example=REPORT,
        problems=(PayloadMismatch, PlatformUsageMetered),
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
describe(
    views.Balance,
    GET=Operation(
        "read_balance",
        "What an organization has to spend; without one named, your own.",
        answer=answers.Balance,
        query=money_serializers.BalanceForm,
    ),
)
BUDGET = {
    "organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
    "name": "Each person, each month",
    "scope": "user",
    "scope_id": "*",
    "period": "month",
    "tz": "America/Sao_Paulo",
    "hard": "20",
    "soft": "15",
    "alert_steps": [50, 80, 100],
    "on_hard": "block",
}
describe(
    views.Budgets,
    GET=Operation(
        "list_budgets",
        "The budgets you may see, each with how full it is.",
        answer=answers.Budgets,
        query=money_serializers.BudgetsForm,
    ),
    POST=Operation(
        "create_budget",
        "Set a budget; it counts from the next call on.",
        status=201,
        answer=answers.Budget,
        body=money_serializers.BudgetForm,
        example=BUDGET,
        problems=(TooManyBudgets,),
    ),
)
describe(
    views.Budget,
    GET=Operation("read_budget", "One budget.", answer=answers.Budget),
    PATCH=Operation(
        "update_budget",
        "Change a budget's limits; what was spent stays.",
        answer=answers.Budget,
        body=money_serializers.BudgetChangeForm,
        example={"hard": "50"},
    ),
    DELETE=Operation("delete_budget", "End a budget.", status=204, problems=(BudgetInherited,)),
)
describe(
    views.BudgetApprovals,
    GET=Operation(
        "list_budget_approvals",
        "The latest approvals that calls beyond a budget's hard limit asked for.",
        answer=answers.BudgetApprovals,
    ),
)
describe(
    views.BudgetApproval,
    POST=Operation(
        "decide_budget_approval",
        "Grant more than a budget's hard limit in one window, or let the limit stand.",
        description="Decided once. What is granted counts from the next call on, until the"
        " window ends; the `approval_id` is the one that the refused call's 402 names.",
        answer=answers.BudgetApproval,
        body=money_serializers.BudgetApprovalForm,
        example={"action": "grant", "amount": "5"},
        problems=(BudgetApprovalClosed,),
    ),
)
