"""Stripe moves money; PostgreSQL decides.

`api` is the only module that knows the SDK. What we ask of Stripe is an `outbox` row first, what
it tells us an `inbox` row; `payments` brings a top-up and its ledger to what Stripe says of it.
"""
