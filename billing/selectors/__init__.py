"""Reads of billing: the actor first, so that a foreign row cannot be reached."""

from billing.selectors.summary import summarise
from billing.selectors.usage import usage_chunks, usage_page

__all__ = ["summarise", "usage_chunks", "usage_page"]
