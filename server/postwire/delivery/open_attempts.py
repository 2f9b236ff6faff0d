"""Which messages tasks of this process work on, with an attempt open: what else is open in its name was left behind."""

from __future__ import annotations

from collections import Counter
from typing import Final

from postwire.core.message import MessageRecord

MAX_UNKNOWN: Final = 10_000
"""How many attempts are remembered of which it is unknown whether they were opened. Any other is taken for one that may
have been handed over."""


class OpenAttempts:
    """A message is here from before the commit that opens its attempt until its pass has ended.

    Its next pass may begin before that: it waits again once that is kept, and may be taken before the one who has kept
    it hears of it. So passes are counted.
    """

    def __init__(self) -> None:
        self._carried: Counter[str] = Counter()
        self._unknown: dict[str, int] = {}  # with the revision that has the attempt
        self._held: set[str] = set()

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._carried

    @property
    def carried(self) -> list[str]:
        """The ids of the messages that are worked on now."""
        return list(self._carried)

    @property
    def has_unknown(self) -> bool:
        """Whether there are any that may have been opened, and that nobody makes."""
        return bool(self._unknown)

    def begin(self, message_id: str) -> None:
        """An attempt of a message is about to be opened. It may have the number and the revision of one that was lost,
        and is another. To be followed by `end`, once."""
        self._carried[message_id] += 1
        self._unknown.pop(message_id, None)

    def end(self, message_id: str) -> None:
        """A pass has ended, or nothing has come of it."""
        passes = self._carried.pop(message_id, 0)
        if passes > 1:
            self._carried[message_id] = passes - 1

    def lose(self, opened: MessageRecord) -> None:
        """Whether the attempt that is open in a record was kept is unknown, and it was surely not handed over. Its pass
        is about to end. Of several that it has lost, the last counts.

        Where another pass has begun meanwhile, the attempt that is open may be that one's, of the same revision.
        """
        if self._carried[opened.message_id] > 1:
            return
        while len(self._unknown) >= MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[opened.message_id] = max(opened.revision, self._unknown.get(opened.message_id, 0))

    def hold(self, message_id: str) -> None:
        """An attempt that may be open, and that nobody makes, is being taken back. No other is to be opened before that
        has ended, by `release`: it would pass for that one, and be taken back while it is made."""
        self._held.add(message_id)

    def is_held(self, message_id: str) -> bool:
        """Whether no attempt of a message is to be opened now."""
        return message_id in self._held

    def release(self, message_id: str) -> None:
        """See `hold`."""
        self._held.discard(message_id)

    def was_never_handed_over(self, record: MessageRecord) -> bool:
        """Whether an attempt that is open, and that nobody makes, is one of which that is known."""
        return self._unknown.get(record.message_id) == record.revision

    def forget(self, message_id: str) -> None:
        """What was left behind is closed."""
        self._unknown.pop(message_id, None)
