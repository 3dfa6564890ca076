"""What the two OpenAI dialects share when reading: content parts, tools, formats, models."""

import hashlib
import re

import msgspec

from providers.simulator import reading
from providers.simulator.conversation import Tool
from providers.simulator.failures import Kind, VendorFailure, invalid
from providers.simulator.reading import JsonObject

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HIDES_REASONING = re.compile(r"(gpt-|o\d|chatgpt-|codex-)")
_REASONING_MODEL = re.compile(r"(o\d|gpt-[5-9]|codex-)")
_TEXT_PARTS = {"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"}
_MEDIA_PARTS = {
    "image_url": "image_url",
    "input_image": "image_url",
    "input_audio": "input_audio",
    "file": "file",
    "input_file": "file_data",
}


def hides_reasoning(model: str) -> bool:
    """OpenAI's own models bill reasoning without showing it; other servers show it."""
    return bool(_HIDES_REASONING.match(model.rpartition("/")[2]))


def is_reasoning_model(model: str) -> bool:
    return bool(_REASONING_MODEL.match(model.rpartition("/")[2]))


def content(value: object, at: str) -> tuple[str, tuple[str, ...]]:
    """The text and the media of a string or an array of parts."""
    if value is None or isinstance(value, str):
        return value or "", ()
    texts: list[str] = []
    media: list[str] = []
    for place, part in enumerate(reading.objects(value, at)):
        kind = reading.text(part.get("type"), f"{at}[{place}].type")
        if kind in _TEXT_PARTS:
            words = part.get("refusal") if kind == "refusal" else part.get("text")
            texts.append(reading.text(words, f"{at}[{place}].text"))
        elif kind in _MEDIA_PARTS:
            media.append(_medium(kind, part.get(_MEDIA_PARTS[kind])))
        else:
            raise invalid(f"Invalid value: '{kind}'.", at=f"{at}[{place}].type")
    return "".join(texts), tuple(media)


def _medium(kind: str, value: object) -> str:
    """A name for the medium that changes with its content, so that a test sees what arrived."""
    if isinstance(value, dict):
        value = value.get("url") or value.get("data") or value.get("file_data") or value
    encoded = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
    fingerprint = hashlib.blake2b(encoded, digest_size=4).hexdigest()
    return f"{kind} {len(encoded)} bytes {fingerprint}"


def arguments(value: object, at: str) -> JsonObject:
    """Arguments of an earlier call; a model's broken JSON is kept as it was, not refused."""
    words = reading.text(value, at)
    try:
        parsed: object = msgspec.json.decode(words.encode())
    except (msgspec.DecodeError, RecursionError):
        return {"": words}
    return parsed if isinstance(parsed, dict) else {"": words}


def tool(spec: JsonObject, at: str, *, namespace: str | None = None) -> Tool:
    """A function tool: its name as strictly checked as the vendor does."""
    name = reading.text(spec.get("name"), f"{at}.name")
    if not _TOOL_NAME.fullmatch(name):
        raise invalid(
            f"Invalid '{at}.name': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]+$'.",
            at=f"{at}.name",
        )
    schema = reading.optional_mapping(spec.get("parameters"), f"{at}.parameters")
    if schema and schema.get("type", "object") != "object":
        raise invalid(
            f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: "
            f'"object"\', got \'type: "{schema.get("type")}"\'.',
            at=f"{at}.parameters",
        )
    return Tool(name=name, schema=schema, namespace=namespace)


def forced(choice: object) -> str | None:
    """The tool a ``tool_choice`` demands: a name, ``*`` for any, None for the model's will."""
    if choice == "required":
        return "*"
    if not isinstance(choice, dict):
        return None
    named = choice.get("function", choice)
    name = named.get("name") if isinstance(named, dict) else None
    return name if isinstance(name, str) else None


def json_schema(shape: JsonObject) -> JsonObject | None:
    """The schema of a response format; {} for any object, None for plain text."""
    match shape.get("type"):
        case "json_object":
            return {}
        case "json_schema":
            inner = reading.optional_mapping(shape.get("json_schema"), "json_schema")
            schema = inner.get("schema", shape.get("schema"))
            return reading.mapping(schema, "json_schema.schema")
        case _:
            return None


def unsupported(name: str, instead: str) -> VendorFailure:
    return invalid(
        f"Unsupported parameter: '{name}' is not supported with this model. "
        f"Use '{instead}' instead.",
        at=name,
    )


def missing_model(model: str) -> VendorFailure:
    return VendorFailure(
        Kind.MODEL_MISSING,
        f"The model `{model[:200]}` does not exist or you do not have access to it.",
        at="model",
    )
