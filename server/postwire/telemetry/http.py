"""What is served over HTTP, beside gRPC: `GET /livez` and `GET /readyz` for probes, and `GET /metrics`.

The paths of the probes are those of the Kubernetes API server ("Kubernetes API health endpoints").
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import Final

from aiohttp import web

_SHUTDOWN_TIMEOUT: Final = 1.0

Page = Callable[[web.Request], Awaitable[web.Response]]


class HttpServer:
    """Serves the probes, and the metrics page where there is one.

    `unready_reason` gives a line of text, or nothing while the server is ready. Both may be given anew.
    """

    def __init__(self, unready_reason: Callable[[], str], metrics: Page | None) -> None:
        self.unready_reason = unready_reason
        self.metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, tls: SSLContext | None) -> int:
        """Listen, with TLS if there is a context for it, and return the port.

        Raises:
            OSError: the address is taken, or not this machine's.
        """
        app = web.Application()
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._fetch)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, host, port, ssl_context=tls, reuse_address=True, reuse_port=False)
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")  # that there is an answer is the answer

    async def _ready(self, _: web.Request) -> web.Response:
        if reason := self.unready_reason():
            return web.Response(status=503, text=f"{reason}\n")
        return web.Response(text="ok\n")

    async def _fetch(self, request: web.Request) -> web.Response:
        if self.metrics is None:
            raise web.HTTPNotFound
        return await self.metrics(request)
