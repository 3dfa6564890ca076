"""What an account's configuration may say."""

import pytest

from ideplatform.kit.errors import InvalidInput
from providers import config
from providers.config import Config
from providers.types import ProviderType

COMPATIBLE = ProviderType.OPENAI_COMPATIBLE


def _pointers(value, kind=ProviderType.OPENAI):
    with pytest.raises(InvalidInput) as refused:
        config.parse(value, provider_type=kind)
    return [fault.pointer for fault in refused.value.errors]


def test_nothing_said_is_the_vendor_s_own_address():
    parsed = config.parse({}, provider_type=ProviderType.ANTHROPIC)
    assert config.base_url(parsed, provider_type=ProviderType.ANTHROPIC) == (
        "https://api.anthropic.com"
    )
    assert config.stored(parsed) == {}


def test_what_differs_is_stored():
    parsed = config.parse(
        {"timeouts": {"idle_s": 5}, "allowed_models": ["a/b"]}, provider_type=ProviderType.OPENAI
    )
    again = config.parse(config.stored(parsed), provider_type=ProviderType.OPENAI)
    assert again == parsed
    assert parsed != Config()


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"bas_url": "https://x.test"}, "/config"),
        ({"timeouts": {"idle_s": -1}}, "/config/timeouts/idle_s"),
        ({"timeouts": {"naps": 1}}, "/config/timeouts"),
        ({"api": "soap"}, "/config/api"),
        ({"max_concurrency": 0}, "/config/max_concurrency"),
        ({"headers": {"Authorization": "Bearer x"}}, "/config/headers/Authorization"),
        ({"headers": {"X-API-Key": "x"}}, "/config/headers/X-API-Key"),
        ({"headers": {"cookie": "x"}}, "/config/headers/cookie"),
        ({"headers": {"Host": "x"}}, "/config/headers/Host"),
        ({"base_url": "ftp://x.test"}, "/config/base_url"),
        ({"base_url": "http://127.1/"}, "/config/base_url"),
        ({"base_url": "http://user:pw@x.test"}, "/config/base_url"),
        ({"base_url": "https://x.test/v1?key=1"}, "/config/base_url"),
        (["not", "an", "object"], "/config"),
    ],
)
def test_what_is_refused_is_pointed_at(value, pointer):
    assert _pointers(value) == [pointer]


def test_a_header_that_would_begin_a_new_line_is_refused():
    with pytest.raises(InvalidInput):
        config.parse({"headers": {"X-A": "b\r\nX-C: d"}}, provider_type=ProviderType.OPENAI)


def test_a_server_without_an_address_of_its_own_needs_one():
    assert _pointers({}, COMPATIBLE) == ["/config/base_url"]
