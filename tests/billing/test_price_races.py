"""Several people publish at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connections, transaction

from billing import price_files
from billing.models import Price
from billing.services import price_versions
from billing.types import ApprovalKind
from tests.billing.calls import a_list, publish
from tests.billing.console.people import approved


def test_publishers_that_race_make_one_version_after_the_other(committed_db):
    publish(a_list(a="0.000001"))
    drafts = [
        price_versions.draft(
            listed=price_files.read({"a.json": a_list(a=f"0.0000010{n}")}), note=str(n)
        )
        for n in range(1, 5)
    ]
    start = threading.Barrier(4)

    def go(version_id):
        start.wait()
        try:
            with transaction.atomic():
                approved(ApprovalKind.PRICES, version_id=str(version_id))
                return price_versions.publish(version_id=version_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(go, drafts)) == [2, 3, 4, 5]
    assert Price.objects.filter(is_published=True, effective__upper_inf=True).count() == 3
