"""Decisions and comparisons at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from billing.models import (
    ReconLine,
)
from ideplatform.kit.errors import (
    PlatformError,
)
from tests.billing.calls import a_list, publish
from tests.billing.reconciling import (
    an_operator,
    compared,
    decide,
    the_card,
    the_line,
    told,
    used,
)


def test_a_decision_and_a_comparison_follow_one_another(committed_db):
    publish(a_list(big="0.001"))
    the_card()
    used()
    line = the_line(compared(told(read_=900)).run)
    operator = an_operator()
    with ThreadPoolExecutor(2) as pool:
        deciding = pool.submit(_alone, lambda: decide(line, "ignore", operator))
        comparing = pool.submit(_alone, lambda: compared(told(read_=950)))
        outcomes = {deciding.result(), comparing.result()}
    assert outcomes <= {"done", "line_decided"}
    waiting = ReconLine.objects.filter(unit_class="input", status="open")
    followers = ReconLine.objects.filter(unit_class="input", explained_quantity=-100)
    # Either the decision came first, and the later report knows it, or the line was replaced.
    assert waiting.count() == 1
    assert followers.count() == (1 if outcomes == {"done"} else 0)


def _alone(work: Callable[[], object]) -> str:
    """In a thread, with a connection of its own."""
    try:
        work()
    except PlatformError as refused:
        return refused.code
    finally:
        connections.close_all()
    return "done"
