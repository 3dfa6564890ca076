"""Exact money: prices, usage events and what they cost.

Owns: the price book, `usage_events`, provider cards, summaries.
Never does: talk to vendors, read prompts, count money in Redis.
Walk: `usage.settle(...)` -> usage event -> `selectors.summary` -> `GET /billing/summary`.
"""
