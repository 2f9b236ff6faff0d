"""Whether a stream that broke is opened again, and when."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import grpc

from postwire_client.errors import PostwireError, TryAgain

MAX_TRIES: Final = 8
"""How often in a row a stream is opened without getting any further, before that is an error."""

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0

_CUT: Final = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""How a stream may end as well that lost its server in the middle of a write, or that a proxy reset. To grpc.aio, every
stream that its server ends in the middle of a write is INTERNAL, and only the next one says why."""


class Reopening:
    """Counts what a stream's failures have in a row. `spread` gives numbers from 0 to 1: none waits like another."""

    def __init__(self, *, retry: bool, spread: Callable[[], float] = random.random) -> None:
        self._retry = retry
        self._spread = spread
        self._tries = 0
        self._got_further = False

    def opened(self) -> None:
        """A stream is opened."""
        self._got_further = False

    def got_further(self) -> None:
        """The stream has yielded something new."""
        self._tries, self._got_further = 0, True

    def allows(self, error: PostwireError | None) -> bool:
        """Whether what has ended like this, or without an error, is worth another try."""
        if not self._retry or self._tries >= MAX_TRIES:
            return False
        if error is None:
            return True
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            return self._got_further  # a token that has run out meanwhile, and there may be a new one by now
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED and not self._got_further:
            return False  # silence from the start: the server is there, and hangs
        return isinstance(error, TryAgain) or (error.code in _CUT and error.reason is None)

    def pause(self, error: PostwireError | None) -> float:
        """How long (s) to wait before another try; longer each time, and never less than the server asks for."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._tries) * (0.5 + self._spread() / 2)
        self._tries += 1
        asked_for = error.retry_delay if error else None
        return max(asked_for or 0.0, pause)


def no_answer() -> TryAgain:
    """What is raised where nothing was heard for too long."""
    return TryAgain(grpc.StatusCode.DEADLINE_EXCEEDED, "there was no answer in time")
