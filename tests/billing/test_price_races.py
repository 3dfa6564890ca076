"""Several people publish at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connection, connections, transaction

from billing import price_files
from billing.models import Price
from billing.pricing import PriceBook
from billing.services import price_versions, prices
from billing.types import ApprovalKind
from tests.billing.calls import a_list, publish
from tests.billing.console.people import approved
from tests.billing.waiting import waiting_backends
from tests.waiting import eventually


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


def test_a_book_is_of_one_version_when_the_next_is_published_while_it_is_read(committed_db):
    publish(a_list(a="0.000001"))
    listed = price_files.read({"a.json": a_list(a="0.0000012")})
    later_id = price_versions.draft(listed=listed, note="dearer")
    assert later_id is not None
    database = str(connection.settings_dict["NAME"])

    def read() -> PriceBook:
        try:
            return prices.current()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE billing_prices IN ACCESS EXCLUSIVE MODE")
            reading = pool.submit(read)  # knows its version, and waits for the prices
            eventually(lambda: waiting_backends(database, "billing_prices"))
            approved(ApprovalKind.PRICES, version_id=str(later_id))
            price_versions.publish(version_id=later_id)
        assert reading.result().version_id == prices.current().version_id == later_id
