"""A lane outlives work that breaks its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from billing.services.lanes import Lane

PAYER = UUID(int=1)


def _forgetful(items: Sequence[str]) -> list[str | Exception]:
    """Leaves items that begin with `lost` without an answer."""
    return [item.upper() for item in items if not item.startswith("lost")]


@pytest.mark.parametrize("others", [(), ("a", "b")])
async def test_work_that_forgets_an_item_leaves_nobody_waiting(committed_db, others):
    lane: Lane[str, str] = Lane("forgetful", _forgetful, payer=lambda _: PAYER, capacity=10)
    asked = [asyncio.create_task(lane.ask(item)) for item in ("lost", *others)]
    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="forgetful answered 0 of 1"):
            await asked[0]
        assert [await one for one in asked[1:]] == [item.upper() for item in others]
        assert await lane.ask("after") == "AFTER"
