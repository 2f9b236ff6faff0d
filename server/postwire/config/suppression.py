"""`[suppression]` and `[inbound]`: who is not written to, and how people say so themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from postwire.config.bind import setting
from postwire.core.inbound import MAX_WORD, START_WORDS, STOP_WORDS, folded

MIN_KEY: Final = 32
"""Characters of a key, so that nobody finds it by trying: as many as 24 random bytes have in Base64."""


@dataclass(frozen=True, slots=True)
class SuppressionConfig:
    """`[suppression]`. Without a `key`, one is used that is derived from a key that the store keeps."""

    key: str | None = setting(None, secret=True, help="What addresses are hashed with.")
    auto: bool = True
    allow_ignore: bool = False

    def check(self) -> None:
        if self.key is not None and len(self.key) < MIN_KEY:
            raise ValueError(f"key: is too short, it must have at least {MIN_KEY} characters")


@dataclass(frozen=True, slots=True)
class InboundConfig:
    """`[inbound]`: the words by which people who write to a number say that they want no more messages, or want them
    again. Of no words, nothing follows."""

    stop: tuple[str, ...] = STOP_WORDS
    start: tuple[str, ...] = START_WORDS

    def check(self) -> None:
        for name, words in (("stop", self.stop), ("start", self.start)):
            if any(not folded(word) or len(word) > MAX_WORD for word in words):
                raise ValueError(
                    f"{name}: has a word that is empty or too long, each must have 1 to {MAX_WORD} characters"
                )
        if both := {*map(folded, self.stop)} & {*map(folded, self.start)}:
            raise ValueError(f"stop, start: both have {min(both)}, leave it out of one of them")
