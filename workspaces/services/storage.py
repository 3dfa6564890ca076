"""What the database says when it cannot keep something, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import IntegrityError, OperationalError, transaction

from ideplatform.kit.errors import StorageFull
from workspaces.errors import WorkspaceBusy

DISK_FULL: Final = "53100"
LOCK_NOT_AVAILABLE: Final = "55P03"


@contextmanager
def writing() -> Iterator[None]:
    """One transaction that writes content.

    Raises StorageFull 507 on a full disk, and WorkspaceBusy 503 when a large operation holds the
    workspace longer than the lock timeout. Reads are not affected by either.
    """
    try:
        with transaction.atomic():
            yield
    except OperationalError as failed:
        state = getattr(failed.__cause__, "sqlstate", None)
        if state == DISK_FULL:
            raise StorageFull from failed
        if state == LOCK_NOT_AVAILABLE:
            raise WorkspaceBusy(retry_after_s=1) from failed
        raise


def violated(failed: IntegrityError) -> str:
    """The name of the constraint that refused a row, "" when the driver does not say."""
    diagnostics = getattr(failed.__cause__, "diag", None)
    return str(getattr(diagnostics, "constraint_name", None) or "")
