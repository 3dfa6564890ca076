"""Reading ``:generateContent`` and ``:streamGenerateContent``; ``gemini_stream`` answers."""

import re

import msgspec

from providers.simulator import reading, signing
from providers.simulator.catalogue import is_known
from providers.simulator.conversation import (
    Conversation,
    Message,
    Signed,
    Tool,
    ToolOutcome,
    ToolUse,
    check_pairing,
)
from providers.simulator.failures import Kind, VendorFailure, invalid
from providers.simulator.reading import JsonObject

from . import digest

TARGET = re.compile(r"/models/(?P<model>.+?):(?P<method>[A-Za-z]+)(?:\?|$)")
_TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_TOP = {"contents", "tools", "toolConfig", "safetySettings", "systemInstruction", "cachedContent",
        "generationConfig", "model", "serviceTier", "store"}  # fmt: skip
_SCHEMA = {"type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems",
           "properties", "required", "minProperties", "maxProperties", "minLength", "maxLength",
           "pattern", "example", "anyOf", "propertyOrdering", "default", "items", "minimum",
           "maximum"}  # fmt: skip


def model_in(path: str, vendor: str = "google") -> str:
    """The model a request path names; raises Google's 404 for an unknown one."""
    match = TARGET.search(path)
    model = match["model"] if match else ""
    if is_known(model, vendor):
        return model
    raise VendorFailure(
        Kind.MODEL_MISSING,
        f"models/{model[:200]} is not found for API version v1beta, or is not supported for "
        "generateContent.",
    )


def read(body: bytes, path: str) -> Conversation:
    model = model_in(path)
    ask = _fields(reading.decode(body), "")
    if unknown := sorted(set(ask) - _TOP):
        raise _unknown_name(unknown[0], "")
    settings = _fields(ask.get("generationConfig"), "generationConfig")
    thinking = _fields(settings.get("thinkingConfig"), "thinkingConfig")
    messages = _messages(ask)
    check_pairing(messages)
    if model.startswith("gemini-3"):
        _check_signatures(messages)
    return Conversation(
        vendor="google",
        model=model,
        digest=digest(path, body),
        messages=messages,
        tools=_tools(ask),
        forced_tool=_forced(ask),
        streams=":streamGenerateContent" in path,
        include_usage=True,
        reasons=bool(thinking) and thinking.get("thinkingBudget") != 0,
        shows_reasoning=thinking.get("includeThoughts") is True,
        max_tokens=reading.optional_count(settings.get("maxOutputTokens"), "maxOutputTokens"),
        stops=reading.strings(settings.get("stopSequences"), "stopSequences"),
        json_schema=_json_schema(settings),
        plain_array="alt=sse" not in path,
    )


def _fields(value: object, at: str) -> JsonObject:
    """An object of Google's own with its field names in one spelling; absent means empty."""
    given = reading.optional_mapping(value, at)
    return {_camel(name): inner for name, inner in given.items()}


def _camel(name: str) -> str:
    """Google's JSON reads both spellings of a field, and its own SDK writes both."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _unknown_name(name: str, at: str) -> VendorFailure:
    where = f" at '{at}'" if at else ""
    return invalid(
        f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
    )


def _messages(ask: JsonObject) -> tuple[Message, ...]:
    messages: list[Message] = []
    if system := reading.optional_mapping(ask.get("systemInstruction"), "systemInstruction"):
        parts = reading.objects(system.get("parts"), "systemInstruction.parts")
        messages.append(Message(role="system", text=_joined(parts)))
    contents = reading.objects(ask.get("contents"), "contents")
    if not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    for place, content in enumerate(contents):
        messages.append(_content(content, place, messages))
    return tuple(messages)


def _joined(parts: list[JsonObject]) -> str:
    texts = [part["text"] for part in parts if not part.get("thought") and "text" in part]
    return "".join(reading.text(text, "text") for text in texts)


def _content(content: JsonObject, place: int, earlier: list[Message]) -> Message:
    at = f"contents[{place}]"
    role = content.get("role", "user")
    if role not in ("user", "model", "function"):
        raise invalid("Please use a valid role: user, model.")
    parts = [_fields(one, at) for one in reading.objects(content.get("parts"), f"{at}.parts")]
    if not parts:
        raise invalid(f"* GenerateContentRequest.{at}.parts: contents.parts must not be empty.")
    uses = [_use(part, f"g{place}.{n}", at) for n, part in enumerate(parts)]
    return Message(
        role="assistant" if role == "model" else "user",
        text=_joined(parts),
        media=tuple(medium for part in parts if (medium := _medium(part))),
        uses=tuple(use for use in uses if use),
        outcomes=_outcomes(parts, earlier, at),
        signed=tuple(
            signed
            for part, use in zip(parts, uses, strict=True)
            if use and (signed := _signed(part, use, at))
        ),
    )


def _use(part: JsonObject, minted: str, at: str) -> ToolUse | None:
    """A function call; Google gives it no id, so its place is its id."""
    if "functionCall" not in part:
        return None
    call = reading.mapping(part["functionCall"], f"{at}.functionCall")
    return ToolUse(
        id=reading.optional_text(call.get("id"), f"{at}.functionCall.id") or minted,
        name=reading.text(call.get("name"), f"{at}.functionCall.name"),
        arguments=reading.optional_mapping(call.get("args"), f"{at}.functionCall.args"),
    )


def _signed(part: JsonObject, use: ToolUse, at: str) -> Signed | None:
    signature = reading.optional_text(part.get("thoughtSignature"), f"{at}.thoughtSignature")
    if signature is None:
        return None
    text = signing.call_text(use.name, use.arguments)
    if signing.same(signature, signing.ANYTHING_GOES):
        signature = signing.sign(text)
    return Signed(text=text, signature=signature, at=at)


def _outcomes(parts: list[JsonObject], earlier: list[Message], at: str) -> tuple[ToolOutcome, ...]:
    """Function responses, matched to the calls before them by id, else by name in order."""
    waiting = [use for message in earlier[-1:] for use in message.uses]
    found: list[ToolOutcome] = []
    for part in parts:
        if "functionResponse" in part:
            answer = reading.mapping(part["functionResponse"], f"{at}.functionResponse")
            found.append(_outcome(answer, waiting, at))
    return tuple(found)


def _outcome(answer: JsonObject, waiting: list[ToolUse], at: str) -> ToolOutcome:
    name = reading.text(answer.get("name"), f"{at}.functionResponse.name")
    identity = answer.get("id")
    match = next((use for use in waiting if identity in (None, use.id) and use.name == name), None)
    if match is None:
        raise invalid(
            "Please ensure that the number of function response parts is equal to the number of "
            "function call parts of the function call turn."
        )
    waiting.remove(match)
    response = reading.optional_mapping(answer.get("response"), f"{at}.functionResponse.response")
    return ToolOutcome(
        call_id=match.id, text=_response_text(response), is_error=bool(response.get("error"))
    )


def _response_text(response: JsonObject) -> str:
    if len(response) == 1:
        (value,) = response.values()
        if isinstance(value, str):
            return value
    return msgspec.json.encode(response).decode()


def _medium(part: JsonObject) -> str | None:
    for kind in ("inlineData", "fileData"):
        if isinstance(blob := part.get(kind), dict):
            size = len(msgspec.json.encode(blob))
            return f"{kind} {blob.get('mimeType')} {size} bytes"
    return None


def _check_signatures(messages: tuple[Message, ...]) -> None:
    """Gemini 3 wants the signature of the first call of every step of the current turn."""
    for message in reversed(messages):
        if message.role == "user" and message.text:
            return
        if message.uses and not message.signed:
            raise invalid(
                "Function call is missing a thought_signature in functionCall parts. This is "
                "required for tools to work correctly, and missing thought_signature may lead to "
                f"degraded model performance. Function call: {message.uses[0].name}"
            )


def _tools(ask: JsonObject) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for place, group in enumerate(reading.objects(ask.get("tools"), "tools")):
        at = f"tools[{place}].function_declarations"
        declared = _fields(group, at).get("functionDeclarations")
        for number, spec in enumerate(reading.objects(declared, at)):
            found.append(_tool(_fields(spec, at), f"{at}[{number}]"))
    return tuple(found)


def _tool(spec: JsonObject, at: str) -> Tool:
    name = reading.text(spec.get("name"), f"{at}.name")
    if not _TOOL_NAME.fullmatch(name):
        raise invalid(
            f"Invalid function name at {at}.name. Must start with a letter or underscore."
        )
    if schema := reading.optional_mapping(spec.get("parameters"), f"{at}.parameters"):
        _check_schema(schema, f"{at}.parameters")
        return Tool(name=name, schema=schema)
    return Tool(
        name=name,
        schema=reading.optional_mapping(spec.get("parametersJsonSchema"), f"{at}.parameters"),
    )


def _check_schema(schema: JsonObject, at: str) -> None:
    """``parameters`` is Google's own Schema message, not JSON Schema: other keys are refused."""
    for key in schema:
        if _camel(key) not in _SCHEMA:
            raise _unknown_name(key, at)
    for name, part in reading.optional_mapping(schema.get("properties"), at).items():
        _check_schema(reading.mapping(part, at), f"{at}.properties[{name}].value")
    if isinstance(items := schema.get("items"), dict):
        _check_schema(items, f"{at}.items")


def _forced(ask: JsonObject) -> str | None:
    config = _fields(ask.get("toolConfig"), "toolConfig")
    calling = _fields(config.get("functionCallingConfig"), "toolConfig")
    if calling.get("mode") != "ANY":
        return None
    allowed = reading.strings(calling.get("allowedFunctionNames"), "allowedFunctionNames")
    return allowed[0] if allowed else "*"


def _json_schema(settings: JsonObject) -> JsonObject | None:
    if settings.get("responseMimeType") != "application/json":
        return None
    schema = settings.get("responseJsonSchema", settings.get("responseSchema"))
    return reading.optional_mapping(schema, "generationConfig.responseSchema")
