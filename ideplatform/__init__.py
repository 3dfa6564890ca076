"""The project package: composition root on top, kit at the bottom.

Owns: settings, URL and task wiring, the embedded default, the kit, the outbox, observability.
Never does: domain decisions; those live in the apps.
Walk: `manage.py up` starts every process; `ideplatform.asgi.application` answers every client.
"""
