"""Vectors of texts and of token numbers."""

from __future__ import annotations

import base64
import struct

import pytest

from ideplatform.kit import egress, ids
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken
from ideplatform.kit.errors import InvalidInput
from providers import adapters
from providers.adapters import openai_wire
from providers.types import CallContext, EmbedCall
from tests.providers.adapters.asking import PATIENT, a_route
from tests.providers.builders import KEY


async def embed(vendor, *inputs, **values):
    nobody = CallContext(user_id=ids.new(), organization_id=ids.new())
    call = EmbedCall(
        request_id=ids.new(), context=nobody, model="any", inputs=inputs, dimensions=16, **values
    )
    route = a_route(vendor, model="sim-embed")
    try:
        return await adapters.of(route.provider_type).embed(call, route, Secret(KEY), PATIENT)
    finally:
        await egress.aclose_all()


@pytest.mark.parametrize("vendor", ["chat", "compatible"])
async def test_token_numbers_are_sent_as_they_are(simulator, vendor):
    by_number = await embed(vendor, (3, 1, 4), (1, 5))
    assert simulator.requests()[-1]["body"]["input"] == [[3, 1, 4], [1, 5]]
    # The simulated vendor reads a number as a word.
    by_text = await embed(vendor, "3 1 4", "1 5")
    assert by_number.vectors == by_text.vectors
    assert [len(vector) for vector in by_number.vectors] == [16, 16]


async def test_google_embeds_texts_only(simulator):
    with pytest.raises(InvalidInput):
        await embed("google", (3, 1, 4))
    assert simulator.requests() == []
    answer = await embed("google", "three one four")
    assert len(answer.vectors[0]) == 16


def test_base64_is_of_little_endian_floats():
    text = base64.b64encode(struct.pack("<3f", 0.5, -1.25, 3.0)).decode()
    assert openai_wire.floats(text) == (0.5, -1.25, 3.0)
    assert openai_wire.floats((0.5,)) == (0.5,)


@pytest.mark.parametrize("text", ["!!", "AAA=", "AAAAA"])
def test_broken_base64_is_a_broken_answer(text):
    with pytest.raises(AnswerBroken):
        openai_wire.floats(text)
