"""Reading ``POST /v1/responses``; ``responses_stream`` lays the answer out."""

import msgspec

from providers.simulator import envelopes, reading, signing, usages
from providers.simulator.answers import Answer, short_id
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

from . import CREATED, digest, openai_parts

Item = dict[str, object]
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_ECHOED = ("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "reasoning",
           "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "user", "store",
           "prompt_cache_key", "safety_identifier")  # fmt: skip


def read(body: bytes, path: str) -> Conversation:
    """Read a request; state on our side (``previous_response_id``) is none, and said so."""
    ask = reading.decode(body)
    model = reading.text(ask.get("model"), "model")
    if not is_known(model, "openai"):
        raise openai_parts.missing_model(model)
    if previous := reading.optional_text(ask.get("previous_response_id"), "previous_response_id"):
        raise VendorFailure(
            Kind.INVALID,
            f"Previous response with id '{previous[:80]}' not found.",
            at="previous_response_id",
        )
    messages = _messages(ask)
    check_pairing(messages)
    reasoning = reading.optional_mapping(ask.get("reasoning"), "reasoning")
    include = reading.strings(ask.get("include"), "include")
    shape = reading.optional_mapping(ask.get("text"), "text")
    return Conversation(
        vendor="openai",
        model=model,
        digest=digest(path, body),
        messages=messages,
        tools=tuple(_tools(ask.get("tools"), "tools")),
        forced_tool=openai_parts.forced(ask.get("tool_choice")),
        parallel_tools=ask.get("parallel_tool_calls") is not False,
        include_usage=True,
        streams=reading.optional_flag(ask.get("stream"), "stream"),
        reasons=reasoning.get("effort") not in (None, "none"),
        shows_reasoning=reasoning.get("summary") not in (None, "none")
        or not openai_parts.hides_reasoning(model),
        encrypts_reasoning="reasoning.encrypted_content" in include,
        max_tokens=reading.optional_count(ask.get("max_output_tokens"), "max_output_tokens"),
        json_schema=openai_parts.json_schema(
            reading.optional_mapping(shape.get("format"), "text.format")
        ),
        service_tier=_tier(ask),
        echoed={name: ask[name] for name in _ECHOED if name in ask},
    )


def _tier(ask: JsonObject) -> str:
    tier = ask.get("service_tier")
    return tier if isinstance(tier, str) and tier in ("flex", "priority") else "standard"


def _messages(ask: JsonObject) -> tuple[Message, ...]:
    messages: list[Message] = []
    if instructions := reading.optional_text(ask.get("instructions"), "instructions"):
        messages.append(Message(role="system", text=instructions))
    given = ask.get("input")
    if isinstance(given, str):
        return (*messages, Message(role="user", text=given))
    for place, item in enumerate(reading.objects(given, "input")):
        if message := _item(item, f"input[{place}]"):
            messages.append(message)
    if not messages:
        raise invalid("Missing required parameter: 'input'.", at="input")
    return tuple(messages)


def _item(item: JsonObject, at: str) -> Message | None:
    """One input item; hosted-tool items of a client's history carry nothing we answer to."""
    kind = item.get("type", "message")
    if kind == "message":
        return _message(item, at)
    if kind in ("function_call", "custom_tool_call"):
        return Message(role="assistant", uses=(_use(item, at),))
    if kind in ("function_call_output", "custom_tool_call_output"):
        text, _ = openai_parts.content(item.get("output"), f"{at}.output")
        call_id = reading.text(item.get("call_id"), f"{at}.call_id")
        return Message(role="tool", outcomes=(ToolOutcome(call_id=call_id, text=text),))
    if kind == "reasoning":
        return _reasoning(item, at)
    if not isinstance(kind, str):
        raise invalid(f"Invalid type for '{at}.type'.", at=f"{at}.type")
    return None


def _message(item: JsonObject, at: str) -> Message:
    role = reading.text(item.get("role"), f"{at}.role")
    if role not in _ROLES:
        raise invalid(f"Invalid value: '{role}'.", at=f"{at}.role")
    text, media = openai_parts.content(item.get("content"), f"{at}.content")
    return Message(role=_ROLES[role], text=text, media=media)


def _use(item: JsonObject, at: str) -> ToolUse:
    name = reading.text(item.get("name"), f"{at}.name")
    arguments: JsonObject = {"input": item.get("input")}
    if item.get("type") == "function_call":
        arguments = openai_parts.arguments(item.get("arguments"), f"{at}.arguments")
    return ToolUse(
        id=reading.text(item.get("call_id"), f"{at}.call_id"), name=name, arguments=arguments
    )


def _reasoning(item: JsonObject, at: str) -> Message:
    encrypted = reading.optional_text(item.get("encrypted_content"), f"{at}.encrypted_content")
    if encrypted is None:
        return Message(role="assistant")
    identity = reading.text(item.get("id"), f"{at}.id")
    signed = Signed(text=identity, signature=encrypted, at=f"{at}.encrypted_content")
    return Message(role="assistant", signed=(signed,))


def _tools(value: object, at: str) -> list[Tool]:
    """Functions, also those in a ``namespace``; hosted and custom tools are never called."""
    found: list[Tool] = []
    for place, spec in enumerate(reading.objects(value, at)):
        where = f"{at}[{place}]"
        if spec.get("type") == "function":
            found.append(openai_parts.tool(spec, where))
        elif spec.get("type") == "namespace":
            name = reading.text(spec.get("name"), f"{where}.name")
            for number, inner in enumerate(reading.objects(spec.get("tools"), where)):
                if inner.get("type") == "function":
                    inside = f"{where}.tools[{number}]"
                    found.append(openai_parts.tool(inner, inside, namespace=name))
    return found


def items(conversation: Conversation, answer: Answer) -> list[Item]:
    """The finished output items, in order."""
    output: list[Item] = []
    if answer.thinking:
        output.append(reasoning_item(conversation, answer))
    output += extra_items(conversation, answer)
    if answer.text or not answer.calls:
        output.append(message_item(conversation, answer))
    output += [call_item(conversation, answer, place) for place in range(len(answer.calls))]
    return output


def extra_items(conversation: Conversation, answer: Answer) -> list[Item]:
    """What server tools did, and the pictures that were made."""
    pictures: list[Item] = [
        {
            "id": short_id("ig_", conversation.digest, str(place)),
            "type": "image_generation_call",
            "status": "completed",
            "output_format": image.media_type.removeprefix("image/"),
            "result": image.data,
        }
        for place, image in enumerate(answer.images)
    ]
    return [*map(dict, answer.blocks), *pictures]


def annotations(answer: Answer) -> list[Item]:
    """The sources of the text."""
    return [
        {
            "type": "url_citation",
            "url": one.url,
            "title": one.title,
            "start_index": 0,
            "end_index": 0,
        }
        for one in answer.citations
    ]


def reasoning_item(conversation: Conversation, answer: Answer) -> Item:
    identity = short_id("rs_", conversation.digest)
    shown = conversation.shows_reasoning
    summary = [{"type": "summary_text", "text": "".join(answer.thinking)}] if shown else []
    item: Item = {"id": identity, "type": "reasoning", "summary": summary}
    if conversation.encrypts_reasoning:
        own = answer.signature == signing.sign("".join(answer.thinking))
        item["encrypted_content"] = signing.sign(identity) if own else answer.signature
    return item


def content_part(answer: Answer) -> Item:
    text = "".join(answer.text)
    if answer.stop == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": annotations(answer), "logprobs": []}


def message_item(conversation: Conversation, answer: Answer) -> Item:
    return {
        "id": short_id("msg_", conversation.digest),
        "type": "message",
        "status": "incomplete" if answer.stop == "length" else "completed",
        "role": "assistant",
        "content": [content_part(answer)],
    }


def call_item(conversation: Conversation, answer: Answer, place: int) -> Item:
    call = answer.calls[place]
    item: Item = {
        "id": short_id("fc_", conversation.digest, str(place)),
        "type": "function_call",
        "status": "completed",
        "arguments": call.arguments,
        "call_id": call.id,
        "name": call.name,
    }
    if call.namespace:
        item["namespace"] = call.namespace
    return item


def snapshot(
    conversation: Conversation, status: str, output: list[Item], usage: object
) -> dict[str, object]:
    """The response object as every event of its life repeats it."""
    return {
        "id": short_id("resp_", conversation.digest),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": conversation.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        **{name: value for name, value in conversation.echoed.items() if value is not None},
    }


def ended(conversation: Conversation, answer: Answer) -> tuple[str, dict[str, object]]:
    """The last event's name and the final response object."""
    figures: object = answer.raw_usage
    if figures is None and answer.reported:
        figures = usages.openai_responses(answer.reported)
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    status = "incomplete" if answer.stop in reasons else "completed"
    final = snapshot(conversation, status, items(conversation, answer), figures)
    if status == "incomplete":
        final["incomplete_details"] = {"reason": reasons[answer.stop]}
    return f"response.{status}", final


def whole(conversation: Conversation, answer: Answer) -> bytes:
    return msgspec.json.encode(ended(conversation, answer)[1])


def failure_event(failure: VendorFailure, conversation: Conversation, place: int) -> bytes:
    """``response.failed``, as OpenAI ends a stream it cannot finish."""
    response = snapshot(conversation, "failed", [], None)
    _, kind, code = envelopes.OPENAI[failure.kind]
    response["error"] = {"code": code or kind, "message": failure.message}
    event = {"type": "response.failed", "sequence_number": place, "response": response}
    return b"event: response.failed\ndata: " + msgspec.json.encode(event) + b"\n\n"
