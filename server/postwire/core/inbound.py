"""What somebody wants who writes to a number of ours: no more messages, or messages again.

The words are those that Twilio takes by default, which are those that the CTIA's Messaging Principles name, and a few
that people write as well: https://help.twilio.com/articles/223134027 (Twilio support for opt-out keywords).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from typing import Final

from postwire.core.values import Word

STOP_WORDS: Final = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")
START_WORDS: Final = ("START", "YES", "UNSTOP")

MAX_WORD: Final = 64
"""Characters. What is longer is no word of either list, and not looked at."""


class Wish(Word):
    """What somebody wants."""

    STOP = "stop"
    START = "start"


class Words:
    """The words by which people say so, whatever their case."""

    def __init__(self, stop: Iterable[str] = STOP_WORDS, start: Iterable[str] = START_WORDS) -> None:
        self._stop: Collection[str] = frozenset(map(folded, stop))
        self._start: Collection[str] = frozenset(map(folded, start))

    def wish_in(self, text: str) -> Wish | None:
        """What somebody wants whose whole message is `text`; None where it is about something else."""
        if len(text) > MAX_WORD:
            return None
        word = folded(text)
        if word in self._stop:
            return Wish.STOP
        return Wish.START if word in self._start else None


def folded(word: str) -> str:
    """A word without the spaces around it, and in no case."""
    return unicodedata.normalize("NFC", word.strip().casefold())
