"""What the server listens on besides gRPC: certificates of each, and what is imported only where it is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postwire.api.server import FLUSH_GRACE, ApiServer
from postwire.config.http import HTTP_TLS, missing_for
from postwire.config.receipts import RECEIPTS_TLS
from postwire.config.schema import Config
from postwire.config.tls import SERVER, TELEMETRY, Certificates, read_certificates
from postwire.delivery import Delivery, InboxAccess

if TYPE_CHECKING:
    from postwire.web.endpoint import WebEndpoint


@dataclass(frozen=True, slots=True)
class ListenerCertificates:
    """Those of each listener that is on and speaks TLS."""

    server: Certificates | None
    metrics: Certificates | None
    http: Certificates | None
    receipts: Certificates | None

    @classmethod
    def read(cls, config: Config) -> ListenerCertificates:
        """Read the files that the configuration names. Raises ConfigError."""
        return cls(
            read_certificates(config.server.tls, SERVER),
            read_certificates(config.telemetry.tls, TELEMETRY) if config.telemetry.metrics_listen else None,
            read_certificates(config.http.tls, HTTP_TLS) if config.http.listen else None,
            read_certificates(config.receipts.tls, RECEIPTS_TLS) if config.receipts.listen else None,
        )

    @property
    def warnings(self) -> Iterator[str]:
        """What whoever starts the server is to know of them, a line each."""
        for one in (self.server, self.metrics, self.http, self.receipts):
            if one:
                yield from one.warnings


def web_endpoint(
    config: Config,
    certificates: ListenerCertificates,
    server: ApiServer,
    inbox: InboxAccess | None,
    authenticates: Callable[[], bool],
    on_fault: Callable[[Exception], None],
) -> WebEndpoint | None:
    """The listener of `http.listen`; None where that is off. `inbox` is what simulated providers took, if that is kept.

    Raises:
        ConfigError: what it takes is not installed, or cannot be done with those certificates.
    """
    if not config.http.listen:
        return None
    for missing in missing_for(config.http):
        raise missing
    from postwire.web import preview
    from postwire.web.endpoint import WebEndpoint

    return WebEndpoint(
        config,
        certificates.http,
        server.guard,
        server.services,
        authenticates=authenticates,
        on_fault=on_fault,
        routes=preview.routes(inbox) if inbox else (),
    )


async def drain(server: ApiServer, delivery: Delivery, web: WebEndpoint | None, grace: float) -> int:
    """Stop both, after what is under way at either: their calls are counted together, and each refuses new ones with
    the reason until the other is done. Returns how many messages were left unfinished.
    """
    if web:
        web.drain()
    unfinished = await server.stop(delivery, grace)
    if web:
        await web.stop(FLUSH_GRACE)
    return unfinished
