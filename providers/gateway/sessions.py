"""Which program called, which of its conversations a call belongs to, and what the call is for.

Pure. What clients send, and where that is written down:

- Claude Code: `X-Claude-Code-Session-Id`, and in `metadata.user_id` either
  `user_<hash>_account_<uuid>_session_<uuid>` or a JSON object with `session_id`.
- Codex: `session-id` and `thread-id`, `session_id` and `conversation_id` before 2026;
  `originator: codex_...`.
- opencode: `x-session-id`, `x-session-affinity`, `x-opencode-session`.
- Ours, for everybody else: `x-mundial-session`.

Purpose `title`: calls that only name a conversation. They carry no tools and open with one of the
instructions of `_NAMING`, quoted from the clients' sources.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from providers.types import Call, ClientFamily, Message, Purpose, TextPart

MAX_KEY_CHARS: Final = 160
_SCANNED_CHARS: Final = 4_000
_MAX_HEADER_CHARS: Final = 4_096

_SESSION_HEADERS: Final = (
    "x-mundial-session",
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "thread-id",
    "conversation_id",
    "x-session-id",
    "x-session-affinity",
    "x-opencode-session",
)
_CLAUDE_SESSION: Final = re.compile(r"_session_([0-9A-Za-z-]{8,64})\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")

# Product tokens of `User-Agent`, most particular first: many clients add their own to an SDK's.
_AGENTS: Final = (
    (ClientFamily.CLAUDE_CODE, re.compile(r"\bclaude-(cli|code)\b", re.IGNORECASE)),
    (ClientFamily.CODEX, re.compile(r"\bcodex([_-][a-z_]+)?/", re.IGNORECASE)),
    (ClientFamily.OPENCODE, re.compile(r"\bopencode\b", re.IGNORECASE)),
    (ClientFamily.QWEN_CODE, re.compile(r"\bqwen-?code\b", re.IGNORECASE)),
    (ClientFamily.CLINE, re.compile(r"\bcline\b", re.IGNORECASE)),
    (ClientFamily.CONTINUE, re.compile(r"\bcontinue(-cli|dev)?/", re.IGNORECASE)),
    (ClientFamily.AIDER, re.compile(r"\baider\b", re.IGNORECASE)),
    (ClientFamily.THEIA, re.compile(r"\btheia(ide)?\b", re.IGNORECASE)),
    (ClientFamily.LLM, re.compile(r"(?:^|\s)llm/", re.IGNORECASE)),
    (ClientFamily.OPENAI_SDK, re.compile(r"\b(Async)?OpenAI/", re.IGNORECASE)),
    (ClientFamily.ANTHROPIC_SDK, re.compile(r"\b(Async)?Anthropic/", re.IGNORECASE)),
)
_TELLING_HEADERS: Final = (
    ("x-claude-code-session-id", ClientFamily.CLAUDE_CODE),
    ("x-opencode-session", ClientFamily.OPENCODE),
    ("x-session-affinity", ClientFamily.OPENCODE),
)
# What programs that speak through an SDK say of themselves: OpenRouter's two headers, `originator`.
_NAMING_HEADERS: Final = ("originator", "x-title", "http-referer", "referer")
_NAMES: Final = (
    ("codex", ClientFamily.CODEX),
    ("opencode", ClientFamily.OPENCODE),
    ("cline", ClientFamily.CLINE),
    ("aider", ClientFamily.AIDER),
    ("qwen", ClientFamily.QWEN_CODE),
    ("continue.dev", ClientFamily.CONTINUE),
    ("theia", ClientFamily.THEIA),
)
_NAMING: Final = (
    # opencode, packages/opencode/src/agent/prompt/title.txt
    "you are a title generator",
    # Claude Code: topic detection, then the title of a session
    "analyze if this message indicates a new conversation topic",
    "generate a concise, sentence-case title",
    "summarize this coding conversation in under 50 characters",
    # qwen-code and its ancestor gemini-cli: the summary that lists show
    "summarize the user's primary intent or goal in this conversation in one sentence",
    # Continue, core/util/chatDescriber.ts
    "reply with a title for the chat that is 3-4 words in length",
    # Theia, packages/ai-chat/src/common/chat-session-naming-service.ts
    "provide a short and descriptive name for the given ai chat conversation",
)


# Each instruction holds one of these: a text without any needs no closer look.
_SIGNS: Final = ("title", "topic", "under 50 characters", "in one sentence", "descriptive name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where a call belongs. `key` says how it was found: `session:`, `user:`, `cache:`, `first:`.

    Keys of one person only are ever compared.
    """

    client: ClientFamily
    key: str
    purpose: Purpose


def of(headers: Mapping[str, str], call: Call) -> Session:
    """The session of a call. Header names are lower case, values may be anything."""
    return Session(client=_client(headers), key=_key(headers, call), purpose=_purpose(call))


def _client(headers: Mapping[str, str]) -> ClientFamily:
    for name, family in _TELLING_HEADERS:
        if name in headers:
            return family
    names = tuple(headers.get(name, "")[:_MAX_HEADER_CHARS] for name in _NAMING_HEADERS)
    return _named(headers.get("user-agent", "")[:_MAX_HEADER_CHARS], names)


@functools.lru_cache(maxsize=256)
def _named(user_agent: str, names: tuple[str, ...]) -> ClientFamily:
    spoken = next((family for family, form in _AGENTS if form.search(user_agent)), None)
    if spoken not in (None, ClientFamily.OPENAI_SDK, ClientFamily.ANTHROPIC_SDK):
        return spoken
    named = " ".join(names).lower()
    return next((family for name, family in _NAMES if name in named), None) or (
        spoken or ClientFamily.OTHER
    )


def _key(headers: Mapping[str, str], call: Call) -> str:
    for name in _SESSION_HEADERS:
        if value := _cleaned(headers.get(name, "")):
            return _bounded("session", value)
    if value := _cleaned(call.metadata.get("user_id", "")):
        session = _session_of_user_id(value)
        return _bounded("session", session) if session else _bounded("user", value)
    if value := _cleaned(_prompt_cache_key(call) or call.session):
        return _bounded("cache", value)
    return f"first:{_digest(str(call.context.user_id), _first_words(call))}"


def _session_of_user_id(text: str) -> str:
    """The session inside Claude Code's `metadata.user_id`; empty for anybody else's."""
    if found := _CLAUDE_SESSION.search(text):
        return found[1]
    if not text.startswith("{"):
        return ""
    try:
        value = msgspec.json.decode(text, type=dict[str, object]).get("session_id")
    except (msgspec.MsgspecError, RecursionError):
        return ""
    return _cleaned(value) if isinstance(value, str) else ""


def _prompt_cache_key(call: Call) -> str:
    raw = call.extra.get("prompt_cache_key")
    if raw is None:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return ""


def _first_words(call: Call) -> str:
    """The first thing that the person said: it stays while the conversation grows."""
    first = next((message for message in call.messages if message.role == "user"), None)
    return "\n".join(_texts(first)) if first is not None else ""


def _purpose(call: Call) -> Purpose:
    if call.tools or call.server_tools:
        return Purpose.TURN
    messages = (*_instructions(call), *call.messages[-1:])
    texts = (call.system, *(text for message in messages for text in _texts(message)))
    return Purpose.TITLE if any(map(_asks_for_a_name, texts)) else Purpose.TURN


def _asks_for_a_name(text: str) -> bool:
    heard = text[:_SCANNED_CHARS].lower()
    if not any(sign in heard for sign in _SIGNS):
        return False
    plain = " ".join(heard.split())
    return any(words in plain for words in _NAMING)


def _instructions(call: Call) -> Iterator[Message]:
    return (message for message in call.messages if message.role in ("system", "developer"))


def _texts(message: Message) -> Iterator[str]:
    return (part.text for part in message.parts if isinstance(part, TextPart))


def _cleaned(text: str) -> str:
    return _CONTROL.sub("", text[:_MAX_HEADER_CHARS]).strip()


def _bounded(kind: str, value: str) -> str:
    """A long value is told apart by its hash."""
    key = f"{kind}:{value}"
    return key if len(key) <= MAX_KEY_CHARS else f"{kind}:#{_digest(value)}"


def _digest(*texts: str) -> str:
    joined = "\0".join(texts).encode("utf-8", "replace")
    return hashlib.sha256(joined).hexdigest()[:40]
