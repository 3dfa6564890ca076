"""Hashed-word embeddings: texts that share words are near, and the same text is always the same.

Each word adds plus or minus one at a place chosen by its hash (the sign keeps collisions from
adding up); the vector is normalised. Values are 32-bit, so floats and base64 agree exactly.
"""

import base64
import hashlib
import math
import re
import struct
from array import array
from functools import lru_cache

_WORD = re.compile(r"\w+")


def embed(text: str, dimensions: int) -> "array[float]":
    """A unit vector of 32-bit floats."""
    sums = [0.0] * dimensions
    for word in _WORD.findall(text.lower()):
        number, sign = _hashed(word)
        sums[number % dimensions] += sign
    length = math.sqrt(sum(value * value for value in sums))
    if not length:  # no word, or words that cancelled out: still a vector of length one
        sums[0] = length = 1.0
    return array("f", (value / length for value in sums))


def packed(vector: "array[float]") -> str:
    """Base64 of the little-endian floats, as OpenAI writes ``encoding_format: base64``."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


@lru_cache(maxsize=65_536)
def _hashed(word: str) -> tuple[int, float]:
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
    return number >> 1, 1.0 if number & 1 else -1.0
