"""Clients as their makers ship them, against the platform."""

import pytest

pytest.register_assert_rewrite("tests.clients.runner")
