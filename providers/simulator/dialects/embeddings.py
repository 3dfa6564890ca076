"""``POST /v1/embeddings`` and Google's ``:embedContent``, ``:batchEmbedContents``.

An embedding request is read as a conversation of one user message, so that scripts, faults and
the ledger treat it like any other call.
"""

from dataclasses import dataclass

import msgspec

from providers.simulator import catalogue, reading, tokens, usages, vectors
from providers.simulator.conversation import Conversation, Message
from providers.simulator.failures import invalid
from providers.simulator.reading import JsonObject
from providers.simulator.script import Usage

from . import digest, gemini_contents, openai_parts

INPUTS_MAX = 2_048
DIMENSIONS_MAX = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingAsk:
    """Texts to embed, and how the vectors shall be written."""

    conversation: Conversation
    texts: tuple[str, ...]
    dimensions: int
    is_base64: bool = False
    is_batch: bool = False

    @property
    def honest(self) -> Usage:
        return Usage(input=sum(max(tokens.count(text), 1) for text in self.texts))


def read_openai(body: bytes, path: str) -> EmbeddingAsk:
    ask = reading.decode(body)
    model = reading.text(ask.get("model"), "model")
    if not catalogue.is_known(model, "openai"):
        raise openai_parts.missing_model(model)
    texts = _inputs(ask.get("input"))
    form = ask.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise invalid("Invalid value for 'encoding_format'.", at="encoding_format")
    return EmbeddingAsk(
        conversation=_conversation("openai", model, texts, digest(path, body)),
        texts=texts,
        dimensions=_dimensions(ask.get("dimensions"), model),
        is_base64=form == "base64",
    )


def _inputs(value: object) -> tuple[str, ...]:
    """A string, strings, one array of token numbers, or arrays of them."""
    if isinstance(value, str):
        texts: tuple[str, ...] = (value,)
    else:
        items = reading.sequence(value, "input")
        is_one = bool(items) and all(isinstance(item, int) for item in items)
        texts = (_spoken(items),) if is_one else tuple(_spoken(item) for item in items)
    if not texts or not all(texts):
        raise invalid("Invalid 'input': it cannot be an empty string or array.", at="input")
    if len(texts) > INPUTS_MAX:
        raise invalid(f"Invalid 'input': maximum {INPUTS_MAX} items.", at="input")
    return texts


def _spoken(item: object) -> str:
    if isinstance(item, str):
        return item
    return " ".join(str(number) for number in reading.sequence(item, "input"))


def read_google(body: bytes, path: str) -> EmbeddingAsk:
    model = gemini_contents.model_in(path)
    ask = reading.decode(body)
    is_batch = ":batchEmbedContents" in path
    asks = reading.objects(ask.get("requests"), "requests") if is_batch else [ask]
    if not asks:
        raise invalid("* BatchEmbedContentsRequest.requests: at least one is required")
    texts = tuple(_google_text(one) for one in asks)
    return EmbeddingAsk(
        conversation=_conversation("google", model, texts, digest(path, body)),
        texts=texts,
        dimensions=_dimensions(_google_dimensions(asks[0]), model),
        is_batch=is_batch,
    )


def _google_text(ask: JsonObject) -> str:
    content = reading.mapping(ask.get("content"), "content")
    parts = reading.objects(content.get("parts"), "content.parts")
    text = " ".join(reading.text(part.get("text"), "content.parts.text") for part in parts)
    if not text:
        raise invalid("* EmbedContentRequest.content: empty Part.")
    return text


def _google_dimensions(ask: JsonObject) -> object:
    config = reading.optional_mapping(ask.get("embedContentConfig"), "embedContentConfig")
    return ask.get("outputDimensionality", config.get("outputDimensionality"))


def _dimensions(value: object, model: str) -> int:
    wanted = reading.optional_count(value, "dimensions") or catalogue.dimensions(model)
    if wanted > DIMENSIONS_MAX:
        raise invalid(f"Invalid 'dimensions': at most {DIMENSIONS_MAX}.", at="dimensions")
    return wanted


def _conversation(vendor: str, model: str, texts: tuple[str, ...], identity: str) -> Conversation:
    messages = (Message(role="user", text=texts[-1]),)
    return Conversation(vendor=vendor, model=model, digest=identity, messages=messages)


def answer_openai(ask: EmbeddingAsk, usage: object) -> bytes:
    data = [
        {
            "object": "embedding",
            "index": place,
            "embedding": _openai_vector(text, ask),
        }
        for place, text in enumerate(ask.texts)
    ]
    body = {"object": "list", "data": data, "model": ask.conversation.model, "usage": usage}
    return msgspec.json.encode(body)


def _openai_vector(text: str, ask: EmbeddingAsk) -> str | list[float]:
    vector = vectors.embed(text, ask.dimensions)
    return vectors.packed(vector) if ask.is_base64 else vector.tolist()


def answer_google(ask: EmbeddingAsk, usage: object) -> bytes:
    made = [{"values": vectors.embed(text, ask.dimensions).tolist()} for text in ask.texts]
    body: dict[str, object] = {"embeddings": made} if ask.is_batch else {"embedding": made[0]}
    return msgspec.json.encode({**body, "usageMetadata": usage})


def figures(ask: EmbeddingAsk, usage: Usage) -> dict[str, object]:
    """The usage object of the ask's vendor."""
    if ask.conversation.vendor == "google":
        return usages.google_embeddings(usage)
    return usages.openai_embeddings(usage)
