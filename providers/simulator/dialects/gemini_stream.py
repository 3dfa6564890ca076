"""Answers of ``:generateContent`` and its stream: every chunk is a whole response object."""

import msgspec

from providers.simulator import envelopes, signing, usages
from providers.simulator.answers import Answer, Call, short_id
from providers.simulator.conversation import Conversation
from providers.simulator.failures import VendorFailure
from providers.simulator.frames import Frame, encode, so_far
from providers.simulator.script import Image, Turn, Usage

from . import Dialect, gemini_contents

_STOPS = {"end": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "stop_sequence": "STOP",
          "content_filter": "SAFETY", "refusal": "PROHIBITED_CONTENT", "pause": "STOP"}  # fmt: skip
Part = dict[str, object]


def whole(conversation: Conversation, answer: Answer) -> bytes:
    parts: list[Part] = []
    if answer.thinking and conversation.shows_reasoning:
        parts.append({"text": "".join(answer.thinking), "thought": True})
    if answer.text:
        parts.append({"text": "".join(answer.text), **_text_signature(answer)})
    parts += map(_picture, answer.images)
    parts += [_call_part(answer, place) for place in range(len(answer.calls))]
    candidate = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": _STOPS[answer.stop],
        "index": 0,
        **_grounding(answer),
    }
    reply: dict[str, object] = {"candidates": [candidate]}
    figures = _figures(answer, answer.reported)
    if figures is not None:
        reply["usageMetadata"] = figures
    return msgspec.json.encode({**reply, **_tail(conversation)})


def _picture(image: Image) -> Part:
    return {"inlineData": {"mimeType": image.media_type, "data": image.data}}


def _grounding(answer: Answer) -> Part:
    if not answer.citations:
        return {}
    chunks = [{"web": {"uri": one.url, "title": one.title}} for one in answer.citations]
    return {"groundingMetadata": {"groundingChunks": chunks}}


def _tail(conversation: Conversation) -> dict[str, object]:
    return {
        "modelVersion": conversation.model,
        "responseId": short_id("", conversation.digest),
    }


def _figures(answer: Answer, usage: Usage | None) -> dict[str, object] | None:
    if answer.raw_usage is not None:
        return answer.raw_usage
    return usages.google(usage) if usage else None


def _text_signature(answer: Answer) -> Part:
    """Without a call, the signature of the thinking rides on the text."""
    signs = answer.signature is not None and not answer.calls
    return {"thoughtSignature": answer.signature} if signs else {}


def _call_part(answer: Answer, place: int) -> Part:
    """A whole call without an id; the first one carries the thought signature."""
    call = answer.calls[place]
    arguments = _arguments(call)
    part: Part = {"functionCall": {"name": call.name, "args": arguments}}
    if place == 0:
        own = answer.signature in (None, signing.sign("".join(answer.thinking)))
        part["thoughtSignature"] = (
            signing.sign_call(call.name, arguments) if own else answer.signature
        )
    return part


def _arguments(call: Call) -> object:
    """Google sends objects, so a script's broken JSON arrives as one string argument."""
    try:
        return msgspec.json.decode(call.arguments.encode()) if call.pieces else {}
    except msgspec.DecodeError:
        return {"raw": call.arguments}


class _Chunks:
    """Makes chunks with the usage so far; Google repeats it in each."""

    def __init__(self, conversation: Conversation, answer: Answer) -> None:
        self._answer = answer
        self._is_array = conversation.plain_array
        self._tail = b"," + encode(_tail(conversation))[1:]
        self._spent = [0, 0]  # output, reasoning
        self.laid: list[Frame] = []

    def add(
        self, parts: bytes, spent: int, *, is_reasoning: bool = False, finish: bytes = b""
    ) -> None:
        self._spent[is_reasoning] += spent
        data = (
            b'{"candidates":[{"content":{"parts":[' + parts + b'],"role":"model"}' + finish
            + b',"index":0}]' + self._usage(is_last=bool(finish)) + self._tail
        )  # fmt: skip
        self.laid.append(Frame(self._framed(data), spent, is_reasoning))

    def silence(self, tokens: int) -> None:
        self._spent[True] += tokens
        self.laid += [Frame(b"", 1, is_reasoning=True)] * tokens

    def _framed(self, data: bytes) -> bytes:
        if not self._is_array:
            return b"data: " + data + b"\r\n\r\n"
        is_first = not any(frame.data for frame in self.laid)
        return (b"[" if is_first else b",\r\n") + data

    def _usage(self, *, is_last: bool) -> bytes:
        answer = self._answer
        if answer.reported is None and answer.raw_usage is None:
            return b""
        told: Usage | None = answer.reported
        if answer.raw_usage is None and told and not is_last:
            told = so_far(told, reasoning=self._spent[1], output=self._spent[0])
        return b',"usageMetadata":' + encode(_figures(answer, told))


def frames(conversation: Conversation, answer: Answer, _turn: Turn) -> list[Frame]:
    chunks = _Chunks(conversation, answer)
    if conversation.shows_reasoning:
        for piece in answer.thinking:
            thought = b'{"text":' + encode(piece) + b',"thought":true}'
            chunks.add(thought, 1, is_reasoning=True)
    else:
        chunks.silence(len(answer.thinking))
    for piece in answer.text:
        chunks.add(b'{"text":' + encode(piece) + b"}", 1)
    if answer.is_strange:
        chunks.add(b'{"executableCode":{"code":"1"}},{"text":7}', 0)
    for image in answer.images:
        chunks.add(encode(_picture(image)), 0)
    for place, call in enumerate(answer.calls):
        chunks.add(encode(_call_part(answer, place)), call.tokens)
    last: Part = {"text": "", **_text_signature(answer)}
    finish = b',"finishReason":' + encode(_STOPS[answer.stop])
    if grounding := _grounding(answer):
        finish += b"," + encode(grounding)[1:-1]
    chunks.add(encode(last), 0, finish=finish)
    if conversation.plain_array:
        chunks.laid.append(Frame(b"]\r\n", is_done=True))
    return chunks.laid


def failure_event(failure: VendorFailure, conversation: Conversation, _place: int) -> bytes:
    body = envelopes.google(failure, "").body
    return b",\r\n" + body + b"]" if conversation.plain_array else b"data: " + body + b"\r\n\r\n"


DIALECT = Dialect(
    vendor="google",
    operation="generate",
    read=gemini_contents.read,
    whole=whole,
    frames=frames,
    failure_event=failure_event,
    envelope=envelopes.google,
)
