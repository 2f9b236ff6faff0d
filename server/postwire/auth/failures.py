"""Callers whose credentials are refused: in the log, and slowed down once there are many of one.

Whoever is right is never slowed down, and neither is anybody else: credentials are verified first, and failures are
counted by the key and the address that they come from, so that one behind a proxy does not lock out the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from postwire.clock import Clock
from postwire.core.throttle import Throttle

BURST: Final = 1_000
"""How many failures of one are answered at once."""

INTERVAL: Final = 0.1
"""Seconds between those of one that are, after that. The others are kept waiting."""

DELAY: Final = 1.0
"""Seconds for which an answer is kept back. A caller that calls again and again with an old key goes so much slower."""

MOST_WAITING: Final = 100
"""How many may be kept waiting. More are answered at once: they are to take no room from those who are right, and over
HTTP each of them takes a connection, of which there are a few hundred."""

LOGGED_AT_ONCE: Final = 3
LOG_INTERVAL: Final = 60.0
"""How many failures of one are in the log, and how many seconds are between two after that."""

MOST_KNOWN: Final = 4_096
"""Of how many it is known how often they failed."""


class Failures:
    """Counts them. `on_failure` hears of some: the key's id (empty where it is not known), the address, and how many
    there were of these since it last heard of one.
    """

    def __init__(self, clock: Clock, on_failure: Callable[[str, str, int], None]) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._logged: Throttle[tuple[str, str]] = Throttle(burst=LOGGED_AT_ONCE, interval=LOG_INTERVAL, most=MOST_KNOWN)
        self._answered: Throttle[tuple[str, str]] = Throttle(burst=BURST, interval=INTERVAL, most=MOST_KNOWN)
        self._waiting = 0

    async def note(self, key_id: str, peer: str) -> None:
        """One more: return when it is to be answered. `peer` is as gRPC has it (`ipv4:192.0.2.1:4711`)."""
        who, now = (key_id, _address(peer)), self._clock.monotonic()
        if (held_back := self._logged.admit(who, now)) is not None:
            self._on_failure(*who, held_back + 1)
        if self._answered.admit(who, now) is None and self._waiting < MOST_WAITING:
            await self._wait()

    async def _wait(self) -> None:
        over = asyncio.Event()
        alarm = self._clock.call_later(DELAY, over.set)
        self._waiting += 1
        try:
            await over.wait()
        finally:
            self._waiting -= 1
            alarm.cancel()


def _address(peer: str) -> str:
    """Without the port, which is another for each connection."""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0] or kind if kind in ("ipv4", "ipv6") else kind
