"""One bind that is kept up: made, and made again whenever it is lost, after a pause where that does not succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from postwire.core import backoff
from postwire.core.availability import probe_pause
from postwire.providers.connecting import ConnectFailed
from postwire.providers.smpp.connection import Connection

RETRY_BASE: Final = 1.0
RETRY_MAX: Final = 60.0
"""Seconds, at most, of the first pause after which it is tried again, and of any. Doubled with each in a row."""

HURRY: Final = 1.0
"""Seconds of the pause where messages wait for the bind."""

HURRY_ACCOUNT: Final = 30.0
"""The same where the account was refused: who tries a wrong password too often may be locked out."""

LASTING: Final = 10.0
"""Seconds after which a bind that is lost again was a success, so that it is made again at once."""

Connect = Callable[[], Awaitable[Connection]]
"""Makes a connection that is bound. Raises ConnectFailed."""


class Keeper(Protocol):
    """Whoever has binds, and hears of what happens to them."""

    def came_up(self, connection: Connection) -> None:
        """A connection is bound."""
        ...

    def failed(self, bind: Bind) -> None:
        """One could not be made, by `bind.failure`."""
        ...


class Bind:
    """See the module. `failure` is why the last attempt to make it has failed; None since it is there."""

    def __init__(self, connect: Connect, keeper: Keeper, jitter: Callable[[], float]) -> None:
        """`jitter` gives draws in [0, 1) for pauses."""
        self.connection: Connection | None = None
        self.failure: ConnectFailed | None = None
        self.is_pausing = False
        self._connect, self._keeper, self._jitter = connect, keeper, jitter
        self._until = self._in_haste = 0.0  # when a pause ends, and when it does so at the earliest if it is hurried
        self._hurried = asyncio.Event()
        self._at_once = False

    def hurry(self) -> float:
        """Have a pause be short, since a message waits. Return in how many seconds it ends; 0 where there is none."""
        if not self.is_pausing:
            return 0.0
        self._hurried.set()
        return max(0.0, min(self._until, self._in_haste) - asyncio.get_running_loop().time())

    def try_now(self) -> None:
        """Have a pause end: something has changed."""
        self._at_once = True
        self._hurried.set()

    async def run(self) -> None:
        """Keep the bind up, until this is cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0  # in a row
        while True:
            self._at_once = False
            try:
                connection = await self._connect()
            except Exception as error:
                self.failure = _failure_of(error)
                failures += 1
                await self._pause(failures, self.failure)
                continue
            self.connection, self.failure = connection, None
            begun = loop.time()
            self._keeper.came_up(connection)
            try:
                await asyncio.shield(connection.gone)
            finally:
                self.connection = None
            if connection.is_leaving or loop.time() - begun >= LASTING:
                failures = 0
                continue
            # The first time it is made again at once, and then it is one that does not last.
            failures += 1
            if failures > 1:
                self.failure = ConnectFailed("disconnected", "the message centre ends the connections that it is given")
                await self._pause(failures - 1, self.failure)

    async def _pause(self, failures: int, failure: ConnectFailed) -> None:
        loop = asyncio.get_running_loop()
        is_refused = failure.misconfigured
        pause = (
            probe_pause(failures)
            if is_refused
            else backoff.delay(failures, base=RETRY_BASE, most=RETRY_MAX, draw=self._jitter())
        )
        begun = loop.time()
        self._until, self._in_haste = begun + pause, begun + (HURRY_ACCOUNT if is_refused else HURRY)
        self._hurried.clear()
        self.is_pausing = True
        self._keeper.failed(self)
        try:
            while not self._at_once and loop.time() < self._until:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._until):
                        await self._hurried.wait()
                        self._until = min(self._until, self._in_haste)
                self._hurried.clear()
        finally:
            self.is_pausing = False


def _failure_of(error: Exception) -> ConnectFailed:
    """What an attempt to make a bind has come to. One that our own code has made to fail is followed by others, too."""
    if isinstance(error, ConnectFailed):
        return error
    fault = {"message": "a bind could not be made", "exception": error}
    asyncio.get_running_loop().call_exception_handler(fault)
    return ConnectFailed("internal", f"the provider's code failed with {type(error).__name__}")
