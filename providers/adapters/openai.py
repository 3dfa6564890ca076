"""OpenAI itself."""

from __future__ import annotations

from providers.adapters.openai_compatible import OpenAICompatible


class OpenAI(OpenAICompatible):
    """As the imitations, in the names OpenAI's newest models insist on."""

    is_openai = True
