"""What a passed-on stream tells: usage, size, errors, how it ends and what is open in it.

A scanner reads the data of each event once and builds nothing of what the model wrote: that is the
cost of a passed-on token.
"""

from collections.abc import Callable
from typing import Final

from providers.adapters.scanning.base import DONE, Scanner
from providers.adapters.scanning.chat import ChatScanner
from providers.adapters.scanning.messages import MessagesScanner
from providers.adapters.scanning.responses import ResponsesScanner
from providers.types import DialectName

_SCANNERS: Final[dict[DialectName, Callable[[], Scanner]]] = {
    DialectName.CHAT: ChatScanner,
    DialectName.RESPONSES: ResponsesScanner,
    DialectName.MESSAGES: MessagesScanner,
}

__all__ = ["DONE", "Scanner", "of"]


def of(dialect: DialectName) -> Scanner:
    """A new scanner of a dialect's streams."""
    return _SCANNERS[dialect]()
