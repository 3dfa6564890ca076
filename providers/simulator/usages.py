"""Disjoint token classes written as each vendor's usage object.

Sources: SDK types of openai 3.54, anthropic 2.12, google-genai 3.4, and the vectors in
``usage_normalisation_vectors.json``.
"""

from .script import Usage

Figures = dict[str, object]


def openai_chat(usage: Usage) -> Figures:
    """Prompt and completion include their subsets: cached, written, reasoning."""
    prompt: Figures = {"cached_tokens": usage.cache_read, "audio_tokens": 0}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.output_reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def openai_responses(usage: Usage) -> Figures:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.cache_write_30m,
                "ttl_12h_tokens": usage.cache_write_12h,
            },
        },
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.output_reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def openai_embeddings(usage: Usage) -> Figures:
    return {"prompt_tokens": usage.prompt, "total_tokens": usage.prompt}


def anthropic_start(usage: Usage) -> Figures:
    """``message_start``: the input is known, the output has just begun."""
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": min(usage.completion, 1),
        "service_tier": "standard",
    }


def anthropic_delta(usage: Usage) -> Figures:
    """``message_delta``: cumulative output; thinking is part of it, and informative."""
    figures: Figures = {"output_tokens": usage.completion}
    if usage.output_reasoning:
        figures["output_tokens_details"] = {"thinking_tokens": usage.output_reasoning}
    return figures


def anthropic(usage: Usage) -> Figures:
    return {**anthropic_start(usage), **anthropic_delta(usage)}


def google(usage: Usage) -> Figures:
    """Thoughts and tool prompts come on top; only cached content is a subset."""
    prompt = usage.prompt - usage.tool_prompt
    figures: Figures = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": usage.output,
        "totalTokenCount": prompt + usage.tool_prompt + usage.completion,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    if usage.output_reasoning:
        figures["thoughtsTokenCount"] = usage.output_reasoning
    if usage.cache_read:
        figures["cachedContentTokenCount"] = usage.cache_read
    if usage.tool_prompt:
        figures["toolUsePromptTokenCount"] = usage.tool_prompt
    return figures


def google_embeddings(usage: Usage) -> Figures:
    return {"promptTokenCount": usage.prompt, "totalTokenCount": usage.prompt}
