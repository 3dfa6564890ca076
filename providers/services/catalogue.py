"""The public catalogue of vendors' models: from the data file into its table."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

import msgspec
from django.db import transaction

from providers.models import CatalogueModel
from providers.services import changes
from providers.types import Capability, ProviderType

FILE: Final = Path(__file__).resolve().parents[1] / "data" / "catalogue.json"
_COLUMNS: Final = (
    "display_name",
    "context_tokens",
    "max_output_tokens",
    "capabilities",
    "tokenizer",
    "embedding_dimensions",
    "deprecated_at",
    "is_simulated",
)


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the file; `capabilities` None: nothing is claimed."""

    provider_type: ProviderType
    model_id: str
    display_name: str
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[Capability, ...] | None = None
    tokenizer: str = ""
    embedding_dimensions: int | None = None
    deprecated_at: date | None = None
    is_simulated: bool = False


def read() -> list[Entry]:
    """The file's entries; raises msgspec.ValidationError when it is not of the form above."""
    return msgspec.json.decode(FILE.read_bytes(), type=list[Entry])


@transaction.atomic
def load() -> int:
    """Make the table equal to the file; how many models it lists. Repeating changes nothing."""
    entries = read()
    rows = [_row(entry) for entry in entries]
    CatalogueModel.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["provider_type", "model_id"],
        update_fields=_COLUMNS,
        batch_size=500,
    )
    listed = {(entry.provider_type.value, entry.model_id) for entry in entries}
    held = CatalogueModel.objects.values_list("provider_type", "model_id", "pk")
    gone = [pk for kind, model, pk in held if (kind, model) not in listed]
    CatalogueModel.objects.filter(pk__in=gone).delete()
    changes.of_all()
    return len(rows)


def _row(entry: Entry) -> CatalogueModel:
    said = entry.capabilities
    return CatalogueModel(
        provider_type=entry.provider_type,
        model_id=entry.model_id,
        display_name=entry.display_name,
        context_tokens=entry.context_tokens,
        max_output_tokens=entry.max_output_tokens,
        capabilities=None if said is None else [capability.value for capability in said],
        tokenizer=entry.tokenizer,
        embedding_dimensions=entry.embedding_dimensions,
        deprecated_at=entry.deprecated_at,
        is_simulated=entry.is_simulated,
    )
