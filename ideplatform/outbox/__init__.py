"""Facts that must be told: written in the transaction that made them true.

Owns: the `outbox_facts` table, `publish()`, the relay that hands facts to the task queue.
Never does: decide who listens; `ideplatform.subscriptions` does.
Walk: `outbox.services.publish(...)` -> commit -> `relay.drain()` -> Celery task with ids.
"""
