"""The metrics as Prometheus text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from postwire.telemetry.durations import FetchedReader


class MetricsPage:
    """Shows what `reader` collects. `refresh` is awaited before each answer, for what has to be asked for."""

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._registry = CollectorRegistry()
        self.reader = FetchedReader(registry=self._registry)
        self._refresh = refresh

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a GET."""
        await self._refresh()
        # On another thread: with many providers it takes long enough to hold up calls.
        text = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
