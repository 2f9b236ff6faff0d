"""Prometheus text over HTTP: `GET /metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from postwire.telemetry.durations import FetchedReader

_SHUTDOWN_TIMEOUT: Final = 1.0


class MetricsServer:
    """Serves what `reader` collects. `refresh` is awaited before each answer, for what has to be asked for."""

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._registry = CollectorRegistry()
        self.reader = FetchedReader(registry=self._registry)
        self._refresh = refresh
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address is taken, or not this machine's.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, reuse_address=True, reuse_port=False).start()
        except OSError:
            await self._runner.cleanup()
            raise
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        await self._refresh()
        # On another thread: with many providers it takes long enough to hold up calls.
        text = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
