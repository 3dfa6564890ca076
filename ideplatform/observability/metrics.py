"""The registry of the platform's metrics; `docs/reference/metrics.md` is generated from it.

No label carries the id of a user, a run or a path.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)

agent_requests_total = Counter("agent_requests_total", "Total agent requests", ["agent", "status"])
agent_request_duration_seconds = Histogram(
    "agent_request_duration_seconds", "Agent request duration", ["agent"], buckets=_LONG
)
llm_tokens_total = Counter("llm_tokens_total", "Total LLM tokens", ["provider", "type"])
llm_cost_total = Counter(
    "llm_cost_total",
    "Total LLM cost in USD (for graphs; the ledger is the truth)",
    ["provider"],
)
active_users = Gauge("active_users", "Number of active users (distinct in 5 minutes)")
active_workspaces = Gauge(
    "active_workspaces", "Number of active workspaces (distinct in 5 minutes)"
)
celery_queue_depth = Gauge("celery_queue_depth", "Messages waiting", ["queue"])
celery_oldest_message_age_seconds = Gauge(
    "celery_oldest_message_age_seconds", "Age of the oldest waiting message", ["queue"]
)
run_journal_lag_seconds = Histogram(
    "run_journal_lag_seconds", "From append to the named hop", ["hop"], buckets=_FAST
)
runs_active = Gauge("runs_active", "Runs held by this process", ["state"])
lease_recoveries_total = Counter("lease_recoveries_total", "Runs taken over", ["cause"])
stale_appends_refused_total = Counter(
    "stale_appends_refused_total", "Appends refused because the lease had moved"
)
outbox_oldest_age_seconds = Gauge("outbox_oldest_age_seconds", "Age of the oldest unsent fact")
outbox_pending = Gauge("outbox_pending", "Facts not yet handed to the queue")
outbox_failures_total = Counter("outbox_failures_total", "Failed hand-overs", ["topic"])
llm_time_to_first_token_seconds = Histogram(
    "llm_time_to_first_token_seconds",
    "Dispatch to first token",
    ["provider"],
    buckets=_LONG,
)
provider_errors_total = Counter("provider_errors_total", "Failed calls", ["provider", "code"])
sockets_open = Gauge("sockets_open", "Open sockets", ["kind"])
sockets_dropped_total = Counter("sockets_dropped_total", "Sockets closed by us", ["reason"])
db_pool_wait_seconds = Histogram(
    "db_pool_wait_seconds", "Wait of a unit of work for a thread", buckets=_FAST
)
event_loop_lag_seconds = Gauge("event_loop_lag_seconds", "Delay of the event loop's own timer")
access_feed_age_seconds = Gauge("access_feed_age_seconds", "Age of the last read access change")
audit_decrypts_total = Counter("audit_decrypts_total", "Secrets opened", ["purpose"])
vault_rewrap_remaining = Gauge("vault_rewrap_remaining", "Data keys under an old master key")
rate_limited_total = Counter("rate_limited_total", "Requests refused by a limit", ["endpoint"])
unpriced_events_total = Counter("unpriced_events_total", "Usage events without a price")
holds_refused_total = Counter("holds_refused_total", "Calls refused for money", ["code"])
hold_leaks_total = Counter("hold_leaks_total", "Dispatched calls whose runner died")
hold_overrun_usd_total = Counter(
    "hold_overrun_usd_total", "Cost above what was reserved in USD (for graphs)"
)
holds_open_usd = Gauge("holds_open_usd", "What live holds reserve in USD (for graphs)")
rollup_lag_seconds = Gauge(
    "rollup_lag_seconds", "How long the oldest usage event has waited for its sums"
)
ledger_drift_usd = Gauge(
    "ledger_drift_usd", "How far cached sums of wallets are from their entries, USD (for graphs)"
)
ledger_drift_rows = Gauge("ledger_drift_rows", "Rows that the last verification found broken")
gateway_requests_total = Counter(
    "gateway_requests_total", "Requests to `/v1/*`", ["dialect", "outcome"]
)
gateway_time_to_first_token_seconds = Histogram(
    "gateway_time_to_first_token_seconds",
    "From the request's head to the first byte of its answer",
    ["dialect"],
    buckets=(0.005, 0.01, 0.025, 0.05, *_LONG),
)
gateway_streams_open = Gauge("gateway_streams_open", "Answers of `/v1/*` under way", ["dialect"])
gateway_drains_total = Counter(
    "gateway_drains_total", "Answers whose client went away", ["outcome"]
)
gateway_exchanges_dropped_total = Counter(
    "gateway_exchanges_dropped_total", "Gateway calls whose record was not kept", ["reason"]
)
