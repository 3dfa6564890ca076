"""The simulator's own tokenizer: a token is a word of at most 16 characters with its leading space.

Exact, cheap and reversible (the pieces re-join to the text); no vendor's tokenizer is imitated,
because what matters is that what is charged, what is reported and what is sent agree.
"""

import re

IMAGE_TOKENS = 85  # OpenAI's flat low-detail price; used for every image, document or sound
MESSAGE_OVERHEAD_TOKENS = 3
_PIECE = re.compile(r"\s*\S{1,16}|\s+")
_ARGUMENT_PIECE_CHARACTERS = 12


def pieces(text: str) -> list[str]:
    return _PIECE.findall(text)


def count(text: str) -> int:
    return sum(1 for _ in _PIECE.finditer(text))


def argument_pieces(arguments: str) -> list[str]:
    """Cut JSON text blindly, escapes and all: an argument delta is not JSON."""
    step = _ARGUMENT_PIECE_CHARACTERS
    return [arguments[start : start + step] for start in range(0, len(arguments), step)]


def filler(tokens: int) -> str:
    """A text of exactly ``tokens`` tokens."""
    return " ".join(f"word{place}" for place in range(1, tokens + 1))
