"""``POST /v1/chat/completions``."""

import msgspec

from providers.simulator import envelopes, reading, usages
from providers.simulator.answers import Answer, Call, short_id
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
from providers.simulator.failures import VendorFailure, invalid
from providers.simulator.frames import Frame, encode, interleaved, so_far
from providers.simulator.reading import JsonObject
from providers.simulator.script import Turn, Usage

from . import CREATED, Dialect, digest, openai_parts

FINGERPRINT = "fp_simulated"
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_STOPS = {"end": "stop", "length": "length", "tool_calls": "tool_calls", "stop_sequence": "stop",
          "content_filter": "content_filter", "refusal": "stop", "pause": "stop"}  # fmt: skip


def read(body: bytes, path: str) -> Conversation:
    """Read a request, as strictly as OpenAI where a client's fault could hide."""
    ask = reading.decode(body)
    model = reading.text(ask.get("model"), "model")
    if not is_known(model, "openai"):
        raise openai_parts.missing_model(model)
    messages = tuple(
        _message(one, f"messages[{place}]")
        for place, one in enumerate(reading.objects(ask.get("messages"), "messages"))
    )
    if not messages:
        raise invalid("Invalid 'messages': empty array.", at="messages")
    check_pairing(messages)
    if reading.optional_count(ask.get("n"), "n") not in (None, 1):
        raise invalid("Only n=1 is served.", at="n")
    options = reading.optional_mapping(ask.get("stream_options"), "stream_options")
    streams = reading.optional_flag(ask.get("stream"), "stream")
    if options and not streams:
        raise invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            at="stream_options",
        )
    return Conversation(
        vendor="openai",
        model=model,
        digest=digest(path, body),
        messages=messages,
        tools=_tools(ask),
        forced_tool=openai_parts.forced(ask.get("tool_choice")),
        parallel_tools=ask.get("parallel_tool_calls") is not False,
        streams=streams,
        include_usage=reading.optional_flag(options.get("include_usage"), "include_usage"),
        reasons=ask.get("reasoning_effort") not in (None, "none"),
        shows_reasoning=not openai_parts.hides_reasoning(model),
        max_tokens=_max_tokens(ask, model),
        stops=reading.strings(ask.get("stop"), "stop"),
        json_schema=openai_parts.json_schema(
            reading.optional_mapping(ask.get("response_format"), "response_format")
        ),
        service_tier=_tier(ask),
    )


def _max_tokens(ask: JsonObject, model: str) -> int | None:
    if ask.get("max_tokens") is not None and openai_parts.is_reasoning_model(model):
        raise openai_parts.unsupported("max_tokens", "max_completion_tokens")
    newer = reading.optional_count(ask.get("max_completion_tokens"), "max_completion_tokens")
    return newer or reading.optional_count(ask.get("max_tokens"), "max_tokens")


def _tier(ask: JsonObject) -> str:
    tier = ask.get("service_tier")
    return tier if tier in ("flex", "priority") and isinstance(tier, str) else "standard"


def _message(spec: JsonObject, at: str) -> Message:
    role = reading.text(spec.get("role"), f"{at}.role")
    text, media = openai_parts.content(spec.get("content"), f"{at}.content")
    if role == "tool":
        call_id = reading.text(spec.get("tool_call_id"), f"{at}.tool_call_id")
        return Message(role="tool", outcomes=(ToolOutcome(call_id=call_id, text=text),))
    if role not in _ROLES:
        raise invalid(f"Invalid value: '{role}'. Supported values are: {list(_ROLES)}.", at=at)
    calls = reading.objects(spec.get("tool_calls"), f"{at}.tool_calls")
    if role == "user" and spec.get("content") is None:
        raise invalid(f"Invalid value for 'content': expected a string, got null. ({at})", at=at)
    return Message(
        role=_ROLES[role],
        text=text,
        media=media,
        uses=tuple(_use(call, f"{at}.tool_calls[{n}]") for n, call in enumerate(calls)),
        signed=_signed(spec, at),
    )


def _signed(spec: JsonObject, at: str) -> tuple[Signed, ...]:
    """Reasoning that comes back signed; foreign kinds of details are not checked."""
    details = reading.objects(spec.get("reasoning_details"), f"{at}.reasoning_details")
    return tuple(
        Signed(
            text=reading.text(one.get("text"), f"{at}.reasoning_details.text"),
            signature=reading.text(one.get("signature"), f"{at}.reasoning_details.signature"),
            at=at,
        )
        for one in details
        if one.get("type") == "reasoning.text" and one.get("signature") is not None
    )


def _use(call: JsonObject, at: str) -> ToolUse:
    function = reading.mapping(call.get("function"), f"{at}.function")
    return ToolUse(
        id=reading.text(call.get("id"), f"{at}.id"),
        name=reading.text(function.get("name"), f"{at}.function.name"),
        arguments=openai_parts.arguments(function.get("arguments"), f"{at}.function.arguments"),
    )


def _tools(ask: JsonObject) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for place, spec in enumerate(reading.objects(ask.get("tools"), "tools")):
        if spec.get("type", "function") == "function":
            function = reading.mapping(spec.get("function"), f"tools[{place}].function")
            found.append(openai_parts.tool(function, f"tools[{place}].function"))
    return tuple(found)


def whole(conversation: Conversation, answer: Answer) -> bytes:
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(answer.text) if answer.text or not answer.calls else None,
        "refusal": None,
        "annotations": [],
    }
    if answer.stop == "refusal":
        message |= {"content": None, "refusal": "".join(answer.text)}
    if answer.thinking and conversation.shows_reasoning:
        message["reasoning_content"] = "".join(answer.thinking)
    if answer.tells_details:
        words = {"type": "reasoning.text", "text": "".join(answer.thinking), "index": 0}
        message["reasoning_details"] = [{**words, "signature": answer.signature}]
    message |= _extras(answer)
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
                **_call_extra(call),
            }
            for call in answer.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None,
              "finish_reason": _STOPS[answer.stop]}  # fmt: skip
    reply: dict[str, object] = {
        **_head(conversation, "chat.completion"),
        "choices": [choice],
        "service_tier": "default",
    }
    if (figures := _figures(answer, answer.reported)) is not None:
        reply["usage"] = figures
    return msgspec.json.encode(reply)


def _call_extra(call: Call) -> dict[str, object]:
    """Google's own chat-completions endpoint signs the thought behind a call."""
    if call.signature is None:
        return {}
    return {"extra_content": {"google": {"thought_signature": call.signature}}}


def _extras(answer: Answer) -> dict[str, object]:
    """Sources and pictures, as OpenRouter's servers tell them."""
    found: dict[str, object] = {}
    if answer.citations:
        found["annotations"] = [
            {
                "type": "url_citation",
                "url_citation": {"url": one.url, "title": one.title, "content": one.cited},
            }
            for one in answer.citations
        ]
    if answer.images:
        urls = [f"data:{one.media_type};base64,{one.data}" for one in answer.images]
        found["images"] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return found


def _head(conversation: Conversation, kind: str) -> dict[str, object]:
    return {
        "id": short_id("chatcmpl-", conversation.digest),
        "object": kind,
        "created": CREATED,
        "model": conversation.model,
        "system_fingerprint": FINGERPRINT,
    }


def _figures(answer: Answer, usage: Usage | None) -> dict[str, object] | None:
    if answer.raw_usage is not None:
        return answer.raw_usage
    return usages.openai_chat(usage) if usage else None


class _Chunks:
    """Makes chunks by joining bytes: nothing is encoded per token but the token."""

    def __init__(self, conversation: Conversation, answer: Answer, turn: Turn) -> None:
        head = encode(_head(conversation, "chat.completion.chunk"))[:-1]
        self._lead = b"data: " + head + b',"choices":[{"index":0,"delta":'
        self._head = b"data: " + head
        self._tail = b',"logprobs":null,"finish_reason":null}]'
        self._answer = answer
        self._repeats = turn.cumulative_usage
        self._null_usage = b',"usage":null' if conversation.include_usage else b""
        self._spent = [0, 0]  # output, reasoning

    def delta(self, delta: bytes, spent: int = 0, *, is_reasoning: bool = False) -> Frame:
        self._spent[is_reasoning] += spent
        data = self._lead + delta + self._tail + self._usage_so_far() + b"}\n\n"
        return Frame(data, spent, is_reasoning)

    def hidden(self) -> Frame:
        self._spent[True] += 1
        return Frame(b"", 1, is_reasoning=True)

    def stop(self, reason: str) -> Frame:
        end = b'{},"logprobs":null,"finish_reason":' + encode(reason) + b"}]"
        return Frame(self._lead + end + self._usage_so_far() + b"}\n\n")

    def usage(self, figures: dict[str, object]) -> Frame:
        return Frame(self._head + b',"choices":[],"usage":' + encode(figures) + b"}\n\n")

    def _usage_so_far(self) -> bytes:
        reported = self._answer.reported
        if not self._repeats or reported is None:
            return self._null_usage
        now = so_far(reported, reasoning=self._spent[1], output=self._spent[0])
        return b',"usage":' + encode(usages.openai_chat(now))


def frames(conversation: Conversation, answer: Answer, turn: Turn) -> list[Frame]:
    """Role, reasoning, text, interleaved tool calls, finish, usage (no choices), ``[DONE]``."""
    chunks = _Chunks(conversation, answer, turn)
    laid = [chunks.delta(b'{"role":"assistant","content":"","refusal":null}')]
    if answer.is_strange:
        laid.append(Frame(b'data: {"object":"surprise","choices":{"a":1}}\n\n'))
    for piece in answer.thinking:
        if answer.tells_details:
            detail = {"type": "reasoning.text", "text": piece, "index": 0}
            told = {"reasoning": piece, "reasoning_details": [detail]}
            laid.append(chunks.delta(encode(told), 1, is_reasoning=True))
        elif conversation.shows_reasoning:
            delta = b'{"reasoning_content":' + encode(piece) + b"}"
            laid.append(chunks.delta(delta, 1, is_reasoning=True))
        else:
            laid.append(chunks.hidden())
    if answer.tells_details:
        signed = {"type": "reasoning.text", "signature": answer.signature, "index": 0}
        laid.append(chunks.delta(encode({"reasoning_details": [signed]})))
    key = b'{"refusal":' if answer.stop == "refusal" else b'{"content":'
    laid += [chunks.delta(key + encode(piece) + b"}", 1) for piece in answer.text]
    if extras := _extras(answer):
        laid.append(chunks.delta(encode(extras)))
    laid += _call_frames(chunks, answer)
    laid.append(chunks.stop(_STOPS[answer.stop]))
    figures = _figures(answer, answer.reported)
    if conversation.include_usage and figures is not None:
        laid.append(chunks.usage(figures))
    laid.append(Frame(b"data: [DONE]\n\n", is_done=True))
    return laid


def _call_frames(chunks: _Chunks, answer: Answer) -> list[Frame]:
    laid: list[Frame] = []
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        start = {"index": index, "id": call.id, "type": "function", "function": function}
        start |= _call_extra(call)
        laid.append(chunks.delta(encode({"tool_calls": [start]}), 1))
    for index, piece in interleaved(answer.calls):
        lead = b'{"tool_calls":[{"index":%d,"function":{"arguments":' % index
        laid.append(chunks.delta(lead + encode(piece) + b"}}]}", 1))
    return laid


def failure_event(failure: VendorFailure, _conversation: Conversation, _place: int) -> bytes:
    return b"data: " + envelopes.openai(failure, "").body + b"\n\n"


DIALECT = Dialect(
    vendor="openai",
    operation="chat",
    read=read,
    whole=whole,
    frames=frames,
    failure_event=failure_event,
    envelope=envelopes.openai,
)
