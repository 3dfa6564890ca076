"""Long tables of cases: a part of them in each run, all of them in `make full`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def every(nth: int, cases: Iterable[object], *, first: int = 0) -> list[Any]:
    """Each nth case from `first` on as it is, the others at full scale only.

    Tests of one kind take other firsts, so that each case meets one of them in every run.
    """
    return [
        pytest.param(case, marks=() if number % nth == first else pytest.mark.scale)
        for number, case in enumerate(cases)
    ]
