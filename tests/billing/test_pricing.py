"""Which price a token has, and what a call costs."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from billing import price_files, pricing
from billing.errors import ModelUnpriced, PriceListRejected
from billing.pricing import Alias, Model, Price, PriceBook
from billing.services import prices
from billing.types import Operation, PriceMatch, ServiceTier, UnitClass
from ideplatform.kit import ids
from tests.billing.calls import NOON, tokens, usd

VECTORS = json.loads((prices.DATA / "usage_normalisation_vectors.json").read_text())["vectors"]
PROVIDER_TYPES = {"openai": "openai", "anthropic": "anthropic", "google": "google"}


def a_price(pattern: str = "m", unit_price: str = "0.000001", **facts: object) -> Price:
    values: dict[str, object] = {
        "id": ids.new(),
        "provider_type": "openai",
        "match": PriceMatch.EXACT,
        "pattern": pattern,
        "service_tier": ServiceTier.STANDARD,
        "region": "",
        "context_over_tokens": 0,
        "unit_class": UnitClass.INPUT,
        "unit_price": usd(unit_price),
    } | facts
    return Price(**values)  # type: ignore[arg-type]


def a_model(name: str = "m", **facts: object) -> Model:
    return Model(**({"provider_type": "openai", "name": name, "at": NOON} | facts))  # type: ignore[arg-type]


def resolved(book: PriceBook, model: Model, *, total_input: int = 1) -> str | None:
    price = book.resolve(model, UnitClass.INPUT, total_input=total_input)
    return None if price is None else str(price.unit_price)


@pytest.fixture(scope="module")
def shipped() -> PriceBook:
    listed = prices.shipped()
    return PriceBook(
        Price(
            id=ids.new(),
            provider_type=key.provider_type,
            match=key.match,
            pattern=key.pattern,
            service_tier=key.service_tier,
            region=key.region,
            context_over_tokens=key.context_over_tokens,
            unit_class=UnitClass(key.unit_class),
            unit_price=price,
        )
        for key, price in listed.prices.items()
    )


def test_there_are_27_vectors():
    assert len(VECTORS) == 27


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_vector_costs_exactly_what_it_says(shipped, vector):
    model = Model(
        provider_type=PROVIDER_TYPES[vector["api"].split(".")[0]],
        name=vector["model"].removeprefix("gemini/"),
        at=NOON,
        service_tier=vector["service_tier"],
    )
    priced = shipped.price_usage(model, tokens(**vector["classes"]))
    assert priced.unpriced == ()
    assert str(priced.cost) == str(usd(vector["estimated_cost"]).quantize(usd("1e-12")))
    assert {
        (line.unit_class, line.quantity, line.unit_price, line.amount) for line in priced.lines
    } == {
        (line["class"], line["quantity"], usd(line["unit_price"]), usd(line["amount"]))
        for line in vector["lines"]
    }


def test_an_exact_name_goes_before_a_dated_one_before_a_glob_before_an_expression():
    book = PriceBook(
        [
            a_price("m-2026-01-31", "0.1"),
            a_price("m", "0.2"),
            a_price("m*", "0.3", match=PriceMatch.GLOB),
            a_price("[mn].*", "0.4", match=PriceMatch.REGEX),
        ]
    )
    names = ["m-2026-01-31", "m-2026-02-28", "m", "m-20251001", "m-latest", "m-mini", "n", "o"]
    assert [resolved(book, a_model(name)) for name in names] == [
        "0.1",
        "0.2",
        "0.2",
        "0.2",
        "0.2",
        "0.3",
        "0.4",
        None,
    ]


def test_the_more_particular_glob_counts():
    book = PriceBook(
        [
            a_price("gpt-*", "0.1", match=PriceMatch.GLOB),
            a_price("gpt-5*", "0.2", match=PriceMatch.GLOB),
        ]
    )
    assert resolved(book, a_model("gpt-5-mini")) == "0.2"


def test_an_alias_leads_to_the_priced_name_while_it_holds():
    alias = Alias(provider_type="openai", alias="ours", model="m", starts_at=NOON)
    book = PriceBook([a_price("m")], [alias])
    assert resolved(book, a_model("ours")) == "0.000001"
    assert resolved(book, a_model("ours", at=NOON - timedelta(seconds=1))) is None
    assert resolved(book, a_model("ours", provider_type="google")) is None


def test_googles_resource_name_is_the_model_name():
    book = PriceBook([a_price("gemini", provider_type="google")])
    assert resolved(book, a_model("models/gemini", provider_type="google")) == "0.000001"
    assert resolved(book, a_model("models/gemini")) is None


def test_a_price_never_stands_in_for_another_tier_or_vendor():
    book = PriceBook([a_price("m")])
    assert resolved(book, a_model("m", service_tier="priority")) is None
    assert resolved(book, a_model("m", provider_type="anthropic")) is None


def test_a_price_of_the_region_goes_before_one_for_all():
    book = PriceBook([a_price("m", "0.1"), a_price("m", "0.2", region="eu")])
    assert resolved(book, a_model("m", region="eu")) == "0.2"
    assert resolved(book, a_model("m", region="us")) == "0.1"


@pytest.mark.parametrize(
    ("total_input", "expected"),
    [(1, "0.1"), (200, "0.1"), (201, "0.2"), (272, "0.2"), (273, "0.3")],
)
def test_a_context_threshold_counts_strictly_below_the_total_input(total_input, expected):
    book = PriceBook(
        [
            a_price("m", "0.1"),
            a_price("m", "0.3", context_over_tokens=272),
            a_price("m", "0.2", context_over_tokens=200),
        ]
    )
    assert resolved(book, a_model("m"), total_input=total_input) == expected


def test_a_long_context_prices_the_whole_request():
    book = PriceBook(
        [
            a_price("m", "0.1"),
            a_price("m", "0.2", context_over_tokens=100),
            a_price("m", "1", unit_class=UnitClass.OUTPUT),
            a_price("m", "3", unit_class=UnitClass.OUTPUT, context_over_tokens=100),
            a_price("m", "0", unit_class=UnitClass.CACHE_READ),
        ]
    )
    priced = book.price_usage(a_model("m"), tokens(input=1, cache_read=100, output=2))
    assert priced.cost == usd("6.2")


def test_prices_hold_from_their_start_until_their_end():
    end = NOON + timedelta(hours=1)
    book = PriceBook(
        [a_price("m", "0.1", ends_at=NOON), a_price("m", "0.2", starts_at=NOON, ends_at=end)]
    )
    moments = [NOON - timedelta(microseconds=1), NOON, end - timedelta(microseconds=1), end]
    assert [resolved(book, a_model("m", at=at)) for at in moments] == ["0.1", "0.2", "0.2", None]


def test_a_class_without_a_price_makes_the_cost_unknown():
    book = PriceBook([a_price("m")])
    priced = book.price_usage(a_model("m"), tokens(input=1, output=1, web_search=1))
    assert priced.cost is None
    assert priced.unpriced == (UnitClass.OUTPUT, UnitClass.WEB_SEARCH)
    assert [line.unit_class for line in priced.lines] == [UnitClass.INPUT]


def test_an_explicit_zero_is_a_price():
    priced = PriceBook([a_price("m", "0")]).price_usage(a_model("m"), tokens(input=5))
    assert priced.cost == 0
    assert priced.unpriced == ()


def test_what_was_not_used_needs_no_price():
    assert PriceBook().price_usage(a_model(), tokens(input=0, output=0)).cost == 0


def test_a_call_is_rounded_once_half_even():
    book = PriceBook(
        [
            a_price("m", "0.0000000000005"),
            a_price("m", "0.0000000000005", unit_class=UnitClass.OUTPUT),
        ]
    )
    together = book.price_usage(a_model("m"), tokens(input=1, output=1))
    assert together.cost == usd("0.000000000001")
    assert book.price_usage(a_model("m"), tokens(input=1)).cost == 0
    assert book.price_usage(a_model("m"), tokens(input=3)).cost == usd("0.000000000002")


def test_the_cache_saves_the_difference_to_plain_input():
    book = PriceBook([a_price("m", "0.3"), a_price("m", "0.1", unit_class=UnitClass.CACHE_READ)])
    assert book.price_usage(a_model("m"), tokens(cache_read=10)).saved_by_cache == usd("2.0")


def test_a_quote_is_never_below_the_cost_of_what_may_come():
    book = PriceBook(
        [
            a_price("m", "0.1"),
            a_price("m", "0.125", unit_class=UnitClass.CACHE_WRITE_30M),
            a_price("m", "1", unit_class=UnitClass.OUTPUT),
            a_price("m", "2", unit_class=UnitClass.OUTPUT_REASONING),
            a_price("m", "3", unit_class=UnitClass.OUTPUT, context_over_tokens=100),
        ]
    )
    model = a_model("m")
    assert book.quote(model, input_tokens=100, max_output_tokens=10) == usd("32.5")
    assert book.quote(model, input_tokens=101, max_output_tokens=10) == usd("42.625")
    assert book.quote(model, input_tokens=10, max_output_tokens=0) == usd("1.25")


def test_an_unpriced_model_is_not_quoted():
    book = PriceBook([a_price("m")])
    with pytest.raises(ModelUnpriced):
        book.quote(a_model("m"), input_tokens=1, max_output_tokens=1)
    with pytest.raises(ModelUnpriced):
        book.quote(a_model("n"), input_tokens=1, max_output_tokens=0)


def test_whether_the_platform_can_pay_depends_on_the_operation():
    book = PriceBook([a_price("m"), a_price("e", unit_class=UnitClass.EMBEDDING)])
    assert not book.is_priced(a_model("m"), Operation.CHAT)
    assert book.is_priced(a_model("m"), Operation.EMBED)
    assert book.is_priced(a_model("e"), Operation.EMBED)


def test_every_simulated_model_is_priced_in_every_dialect(shipped):
    for provider_type in ("openai", "openai_compatible", "anthropic", "google"):
        for name in ("sim-echo", "sim-coder"):
            assert shipped.is_priced(a_model(name, provider_type=provider_type), Operation.CHAT)
        embed = a_model("sim-embed", provider_type=provider_type)
        assert shipped.price_usage(embed, tokens(input=1)).cost == usd("0.00000002")
        assert shipped.price_usage(embed, tokens(embedding=1)).cost == usd("0.00000002")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_cost_per_token_express", "0.1"),
        ("input_cost_per_image", "0.1"),
        ("input_cost_per_token_above_1hr", "0.1"),
        ("cache_creation_input_token_cost_above_1hr", "0.1"),
        ("input_cost_per_token_above_272_tokens", "0.1"),
        ("unheard_of", True),
        ("input_cost_per_token", 0.1),
        ("input_cost_per_token", "1e-6"),
        ("input_cost_per_token", "-1"),
        ("input_cost_per_token", "0.0000000000000001"),
        ("input_cost_per_token", "NaN"),
    ],
)
def test_a_list_with_anything_unread_is_refused_whole(key, value):
    entry = {"litellm_provider": "openai", "mode": "chat", "output_cost_per_token": "1", key: value}
    with pytest.raises(PriceListRejected) as refused:
        price_files.read({"a.json": json.dumps({"models": {"a/b": entry}})})
    assert [fault.pointer for fault in refused.value.errors] == [f"/a.json/models/a~1b/{key}"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"models": []}',
        '{"models": {"m": 1}}',
        '{"models": {"m": {"litellm_provider": "nobody"}}}',
        '{"models": {}, "models": {}}',
        '{"models": {}, "aliases": {"openai": {"a": 1}}}',
        '{"models": {}, "aliases": {"nobody": {}}}',
    ],
)
def test_what_is_no_price_list_is_refused(text):
    with pytest.raises(PriceListRejected):
        price_files.read({"a.json": text})


def test_a_model_listed_with_and_without_its_prefix_has_the_dearer_price():
    entry = {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": "0.2"}
    models = {"gemini/m": entry, "m": entry | {"input_cost_per_token": "0.1"}}
    listed = price_files.read({"a.json": json.dumps({"models": models})})
    assert list(listed.prices.values()) == [usd("0.2")]


def test_two_files_may_not_price_a_model_differently():
    entry = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": "0.2"}
    one = json.dumps({"models": {"m": entry}})
    other = json.dumps({"models": {"m": entry | {"input_cost_per_token": "0.1"}}})
    assert price_files.read({"a.json": one, "b.json": one}).prices
    with pytest.raises(PriceListRejected):
        price_files.read({"a.json": one, "b.json": other})


def test_a_line_is_kept_as_decimal_strings():
    price = a_price("m", "0.00000002")
    priced = PriceBook([price]).price_usage(a_model("m"), tokens(input=3))
    assert pricing.line_json(priced.lines[0]) == {
        "class": "input",
        "qty": 3,
        "unit_price": "0.00000002",
        "price_id": str(price.id),
        "amount": "0.00000006",
    }
