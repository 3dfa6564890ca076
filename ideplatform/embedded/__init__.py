"""PostgreSQL and Redis without root or docker, and the supervisor behind ``manage.py up``.

Owns: the data directory (stores, logs, secrets), the processes it starts, their order.
Never does: imports an app, reads a table, decides anything about a user.
"""
