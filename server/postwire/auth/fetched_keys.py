"""The keys of an issuer that shows them on the web: fetched beside the calls, and kept where it cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from postwire.auth.jwks import KeySet
from postwire.clock import Alarm, Clock

REFRESH: Final = 600.0
"""Seconds after which keys are fetched anew though nothing asks for it, so that one that was taken back is not good for
ever."""

LEAST_INTERVAL: Final = 60.0
"""Seconds between two fetches, at the least, however many tokens name a key that is not known."""

MOST_WAITING: Final = 1_000
"""How many calls may wait for keys. More are refused: each holds what it has sent."""

GOOD_FOR: Final = 24 * 3600.0
"""Seconds for which keys are good that cannot be fetched anew."""

Fetch = Callable[[], Awaitable[str]]
"""Gets the text of the set. Raises OSError, with a text that says why it could not."""


class FetchedKeys:
    """Keys that `fetch` gets. `on_change` hears why they cannot be fetched, and an empty text once they can again."""

    def __init__(self, fetch: Fetch, clock: Clock, on_change: Callable[[str], None]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._on_change = on_change
        self._trouble = ""
        self._set = KeySet()
        self._fetched = self._tried = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._alarm: Alarm | None = None
        self._waiting = 0

    @property
    def keys(self) -> KeySet:
        """The keys as they were fetched last; none where that is too long ago."""
        if self._set.keys and self._clock.monotonic() - self._fetched >= GOOD_FOR:
            self._set = KeySet()
        return self._set

    def fetch_now(self) -> None:
        """Fetch the keys beside everything else, whenever that was last done; and from then on, from time to time."""
        if self._fetching is None:
            self._begin()

    async def until_fetched(self) -> None:
        """Return once nothing is being fetched, whatever came of it."""
        if self._fetching:
            await asyncio.wait((self._fetching,))

    async def look_again(self) -> None:
        """A token names a key that is not here: return once the keys are fetched anew, if it is time for that."""
        if self._fetching is None and self._clock.monotonic() - self._tried >= LEAST_INTERVAL:
            self._begin()
        if self._fetching and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await asyncio.wait((self._fetching,))  # he who hangs up does not end it for the others
            finally:
                self._waiting -= 1

    async def stop(self) -> None:
        """Fetch nothing more."""
        self._cancel_alarm()
        if self._fetching:
            self._fetching.cancel()
            await asyncio.wait((self._fetching,))
        self._cancel_alarm()

    def _begin(self) -> None:
        self._cancel_alarm()
        self._tried = self._clock.monotonic()
        self._fetching = asyncio.get_running_loop().create_task(self._fetch_once())

    async def _fetch_once(self) -> None:
        delay = LEAST_INTERVAL
        try:
            self._set = KeySet.parse(await self._fetch())
        except OSError as error:
            self._report(str(error))
        except ValueError as error:
            self._report(f"what is there {error}")
        else:
            self._fetched = self._clock.monotonic()
            delay = REFRESH
            self._report("")
        finally:
            self._fetching = None
        self._alarm = self._clock.call_later(delay, self.fetch_now)

    def _cancel_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_change(trouble)


class KnownKeys:
    """Keys that stand in a file: the same for as long as nobody has it read again."""

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys

    async def look_again(self) -> None:
        """Do nothing."""
