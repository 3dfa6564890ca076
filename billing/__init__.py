"""Exact money: prices, holds, usage events and what they cost, a ledger that balances, budgets.

Owns: the price book, `usage_events`, customers, wallets and the ledger, holds, budgets, provider
cards, summaries, vendors' reports and what differs from them.
Never does: talk to LLM vendors, read prompts, count money in Redis.
Walk: `holds.reserve(...)` -> the call -> `usage.settle(...)` -> usage event, ledger, budgets ->
`selectors.summary` -> `GET /billing/summary`.
"""
