"""A scripted mail server in a thread of its own, for processes that send."""

from __future__ import annotations

import asyncio
from threading import Event, Thread
from typing import Any, Self

from tests.support.smtp_server import SmtpServer


class SmtpThread:
    """Runs while it is entered. What is asked of `server` is read only, or done before."""

    def __init__(self, **arguments: Any) -> None:
        self.server = SmtpServer(**arguments)
        self._serving = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._serving.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with self.server:
            self._serving.set()
            await self._ended.wait()
