"""The models each vendor's door knows, and what it lists of them."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A listed model; embedding models have a dimension."""

    id: str
    vendor: str  # "any" is listed by all three
    context_tokens: int
    output_tokens: int
    dimensions: int | None = None

    @property
    def title(self) -> str:
        return self.id.replace("-", " ").title()


MODELS = (
    Model(id="sim-echo", vendor="any", context_tokens=1_000_000, output_tokens=200_000),
    Model(id="sim-coder", vendor="any", context_tokens=1_000_000, output_tokens=200_000),
    Model(id="sim-embed", vendor="any", context_tokens=8_192, output_tokens=0, dimensions=1_536),
    Model(id="gpt-4o-mini", vendor="openai", context_tokens=128_000, output_tokens=16_384),
    Model(id="gpt-4.1", vendor="openai", context_tokens=1_047_576, output_tokens=32_768),
    Model(id="gpt-5-mini", vendor="openai", context_tokens=272_000, output_tokens=128_000),
    Model(id="gpt-5.5", vendor="openai", context_tokens=1_050_000, output_tokens=128_000),
    Model(id="o4-mini", vendor="openai", context_tokens=200_000, output_tokens=100_000),
    Model(id="text-embedding-3-small", vendor="openai", context_tokens=8_191, output_tokens=0,
          dimensions=1_536),
    Model(id="text-embedding-3-large", vendor="openai", context_tokens=8_191, output_tokens=0,
          dimensions=3_072),
    Model(id="claude-sonnet-5", vendor="anthropic", context_tokens=1_000_000, output_tokens=64_000),
    Model(id="claude-haiku-4-5", vendor="anthropic", context_tokens=200_000, output_tokens=64_000),
    Model(id="claude-sonnet-4-5", vendor="anthropic", context_tokens=200_000,
          output_tokens=64_000),
    Model(id="claude-opus-4-5", vendor="anthropic", context_tokens=200_000, output_tokens=64_000),
    Model(id="gemini-2.5-flash", vendor="google", context_tokens=1_048_576, output_tokens=65_535),
    Model(id="gemini-2.5-pro", vendor="google", context_tokens=1_048_576, output_tokens=65_535),
    Model(id="gemini-embedding-001", vendor="google", context_tokens=2_048, output_tokens=0,
          dimensions=3_072),
)  # fmt: skip
_FAMILIES = {
    "openai": re.compile(
        r"(gpt-|o\d|chatgpt-|codex-|computer-use|text-embedding-|claude-|gemini-|gemma|llama|qwen"
        r"|mistral|deepseek)"
    ),  # OpenAI's wire is also the one of servers that host everybody's models
    "anthropic": re.compile(r"claude-"),
    "google": re.compile(r"(gemini-|gemma-|text-embedding-|embedding-)"),
}
_DIMENSIONS = {model.id: model.dimensions for model in MODELS if model.dimensions}
DIMENSIONS_DEFAULT = 1_536


def listed(vendor: str) -> list[Model]:
    """What a door's model list shows, in a fixed order."""
    return [model for model in MODELS if model.vendor in ("any", vendor)]


def find(model_id: str, vendor: str) -> Model | None:
    """A model of this door: a listed one, or any other of a family the vendor sells."""
    for model in listed(vendor):
        if model.id == model_id:
            return model
    if not is_known(model_id, vendor):
        return None
    return Model(id=model_id, vendor=vendor, context_tokens=200_000, output_tokens=64_000)


def is_known(model_id: str, vendor: str) -> bool:
    if any(model.id == model_id for model in MODELS if model.vendor == "any"):
        return True
    return bool(_FAMILIES[vendor].match(model_id.rpartition("/")[2]))


def dimensions(model_id: str) -> int:
    """The usual length of a model's vectors."""
    return _DIMENSIONS.get(model_id, DIMENSIONS_DEFAULT)
