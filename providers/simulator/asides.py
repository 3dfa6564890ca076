"""What clients put beside a person's words: reminders, environments, lists of skills.

Claude Code, qwen-code, Codex and others send it in the same message, or in a user's message of its
own, between tags. A model knows that nobody said it.
"""

import re

_ASIDE = re.compile(
    r"<(system-reminder|environment_context|environment_details|environment|user_instructions|"
    r"skills_instructions|additional_context|context|available_skills)>.*?</\1>\s*",
    re.DOTALL,
)
_FRAME = re.compile(r"</?(?:task|user_query|user_request|user_message|user_input)\b[^<>]*>")


def without(text: str) -> str:
    """The person's own words; empty when there are none."""
    if "<" not in text:  # the common case, on every message of every request
        return text
    return _FRAME.sub("", _ASIDE.sub("", text)).strip()
