"""How much may be kept: each counter moves by one conditional statement or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from django.db.models import F

from workspaces.errors import QuotaExceeded
from workspaces.models import OrganizationStorage, Workspace

MIB: Final = 1024 * 1024
FILE_BYTES: Final = 16 * MIB
WORKSPACE_BYTES: Final = 1024 * MIB
WORKSPACE_NODES: Final = 50_000
ORGANIZATION_BYTES: Final = 10 * 1024 * MIB


def check_file(size: int) -> None:
    """Raises QuotaExceeded for a file over 16 MiB."""
    if size > FILE_BYTES:
        raise QuotaExceeded(
            f"a file has at most {FILE_BYTES} bytes", limit="file", most_bytes=FILE_BYTES
        )


def charge_workspace(*, workspace_id: UUID, size: int, nodes: int) -> None:
    """Count bytes of current content and nodes, which may be negative.

    Raises QuotaExceeded when growth would pass 1 GiB or 50,000 nodes; shrinking always passes.
    """
    rows = Workspace.objects.filter(pk=workspace_id)
    if size > 0:
        rows = rows.filter(bytes_used__lte=WORKSPACE_BYTES - size)
    if nodes > 0:
        rows = rows.filter(file_count__lte=WORKSPACE_NODES - nodes)
    changed = rows.update(bytes_used=F("bytes_used") + size, file_count=F("file_count") + nodes)
    if not changed:
        raise QuotaExceeded(
            f"a workspace holds at most {WORKSPACE_BYTES} bytes and {WORKSPACE_NODES} nodes",
            limit="workspace",
            most_bytes=WORKSPACE_BYTES,
            most_nodes=WORKSPACE_NODES,
        )


def charge_organization(*, organization_id: UUID, size: int) -> None:
    """Count bytes of blobs, kept versions included; raises QuotaExceeded beyond 10 GiB."""
    if size and not _grow(organization_id, size):
        OrganizationStorage.objects.bulk_create(
            [OrganizationStorage(organization_id=organization_id)], ignore_conflicts=True
        )
        if not _grow(organization_id, size):
            raise QuotaExceeded(
                f"an organization keeps at most {ORGANIZATION_BYTES} bytes, versions included",
                limit="organization",
                most_bytes=ORGANIZATION_BYTES,
            )


def refund_organizations(freed: Mapping[UUID, int]) -> None:
    """Give back the bytes of deleted blobs."""
    for organization_id in sorted(freed):
        rows = OrganizationStorage.objects.filter(organization_id=organization_id)
        rows.update(bytes_used=F("bytes_used") - freed[organization_id])


def _grow(organization_id: UUID, size: int) -> int:
    rows = OrganizationStorage.objects.filter(organization_id=organization_id)
    return rows.filter(bytes_used__lte=ORGANIZATION_BYTES - size).update(
        bytes_used=F("bytes_used") + size
    )
