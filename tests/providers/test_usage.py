"""Vendors' usage objects as disjoint classes: the 27 vectors, and what vendors do wrong."""

import json
from pathlib import Path

import pytest
import structlog

from billing.types import TokenCount, UnitClass
from providers.adapters import usage

FILE = Path(__file__).parents[2] / "billing" / "data" / "usage_normalisation_vectors.json"
VECTORS = json.loads(FILE.read_text())["vectors"]
READERS = {"openai": usage.openai, "anthropic": usage.anthropic, "google": usage.google}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_every_vector_is_exact(vector):
    reader = READERS[vector["api"].partition(".")[0]]
    tokens = reader(vector["raw_usage"])
    assert {name.value: count for name, count in tokens.quantities.items()} == vector["classes"]


def test_google_s_wire_names_count_like_its_sdk_s():
    wire = {"promptTokenCount": 10, "cachedContentTokenCount": 4, "thoughtsTokenCount": 3}
    assert usage.google(wire) == TokenCount(
        {UnitClass.INPUT: 6, UnitClass.CACHE_READ: 4, UnitClass.OUTPUT_REASONING: 3}
    )


def test_audio_is_not_counted_as_text():
    tokens = usage.openai(
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "prompt_tokens_details": {"audio_tokens": 60},
            "completion_tokens_details": {"audio_tokens": 20},
        }
    )
    assert tokens.quantities == {
        UnitClass.INPUT: 40,
        UnitClass.AUDIO_INPUT: 60,
        UnitClass.OUTPUT: 30,
        UnitClass.AUDIO_OUTPUT: 20,
    }


def test_a_part_larger_than_its_whole_never_makes_a_negative_class():
    tokens = usage.openai({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}})
    assert tokens.quantities == {UnitClass.CACHE_READ: 9}


@pytest.mark.parametrize("lie", [-1, 1.5, "7", True, 10**12])
def test_figures_that_are_none_make_the_call_an_estimated_one(lie):
    assert usage.read(usage.openai, {"prompt_tokens": lie, "completion_tokens": 1}) is None


def test_an_unknown_field_with_tokens_in_it_alarms():
    with structlog.testing.capture_logs() as logs:
        usage.anthropic(
            {"input_tokens": 1, "output_tokens": 1, "dream_tokens": 12, "nap_tokens": 0}
        )
    assert logs == [
        {
            "event": "usage.unknown_field_seen",
            "log_level": "warning",
            "vendor": "anthropic",
            "field": "dream_tokens",
        }
    ]
