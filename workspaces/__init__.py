"""Workspaces, their members and their files.

Owns: `workspaces`, memberships, file nodes, versions and blobs; path rules and quotas.
Never does: open live documents (the port `TextAuthority` does), run tools, judge money.
Walk: REST or tool -> `services.files.write_text(...)` -> version + `file.changed`.
"""
