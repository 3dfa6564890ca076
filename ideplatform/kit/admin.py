"""What the admin pages of every app share."""

from __future__ import annotations


class ReadOnly:
    """No adding, changing or deleting: changes go through the API, which audits them."""

    def has_add_permission(self, *_: object) -> bool:
        return False

    def has_change_permission(self, *_: object) -> bool:
        return False

    def has_delete_permission(self, *_: object) -> bool:
        return False
