"""Who may enter, and what each actor is.

Owns: users, organizations, sessions, API keys, tickets, the vault, the audit log, access changes.
Never does: know a workspace beyond its id; call a provider; decide about money.
Walk: credential -> `accounts.services.authentication.authenticate` -> `Actor` -> every selector.
"""
