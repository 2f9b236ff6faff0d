"""The listener of `http.listen`, as the configuration has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from starlette.routing import BaseRoute

from postwire.api.guard import Guard
from postwire.api.transport import HEADROOM_BYTES
from postwire.config.http import HTTP_TLS
from postwire.config.schema import Config
from postwire.config.tls import Certificates
from postwire.http_connections import Listener
from postwire.http_tls import HttpTls
from postwire.reload import Reloadable
from postwire.web import openapi_page
from postwire.web.application import Application
from postwire.web.console import Console
from postwire.web.contract import Contract
from postwire.web.origins import Origins


class WebEndpoint:
    """Answers calls over HTTP from `start` to `stop`."""

    def __init__(
        self,
        config: Config,
        certificates: Certificates | None,
        guard: Guard,
        services: Mapping[str, object],
        *,
        authenticates: Callable[[], bool],
        on_fault: Callable[[Exception], None],
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        """`services` are servicers by the full names of their services; `guard` goes before them. Without
        `certificates`, there is no TLS. `routes` are of whatever else is served; they go before those of the console.

        Raises:
            ConfigError: it cannot be done with those certificates.
        """
        self._address = config.http.listen
        self._tls = None
        if certificates:
            self._tls = HttpTls(certificates, config.http.tls, HTTP_TLS, lambda config: config.http.tls)
        contract = Contract(guard, services, config.server.max_message_bytes + HEADROOM_BYTES, on_fault)
        console = Console(config.console, authenticates).routes if config.console.enabled else ()
        self._application = Application(contract, Origins(config.http), (*routes, *openapi_page.routes(), *console))
        self._listener = Listener(self._application, self._tls.context if self._tls else None)

    @property
    def reloadables(self) -> Iterator[Reloadable]:
        """What can change while it serves."""
        if self._tls:
            yield self._tls.renewal.reloadable

    def listen(self) -> str:
        """See `Listener.listen_on`."""
        return self._listener.listen_on(self._address, "http.listen")

    def start(self) -> None:
        """Serve."""
        self._listener.start()

    def drain(self) -> None:
        """Go on, and have each caller look for another server once he has his answer."""
        self._application.is_draining = True

    def release(self) -> None:
        """Give the address back, if it is still held."""
        self._listener.release()

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and answer those that are under way, in at most so many seconds."""
        await self._listener.stop(seconds)
