"""What listens for probes, and for those who fetch metrics: before all else where a boot may have to wait."""

from __future__ import annotations

from postwire.config.endpoints import host_port
from postwire.config.schema import TelemetryConfig
from postwire.config.tls import TELEMETRY, Certificates
from postwire.http_tls import HttpTls
from postwire.telemetry.http import HttpServer
from postwire.telemetry.setup import STARTING, MetricsListenError


class Probes(HttpServer):
    """An `HttpServer` at the address that the configuration has."""

    def __init__(self, config: TelemetryConfig, certificates: Certificates | None) -> None:
        """With `certificates` it speaks TLS. Raises ConfigError where it cannot be done with those."""
        super().__init__(lambda: STARTING, None)
        self._at = config.metrics_listen
        self._address = ""
        self.tls = (
            HttpTls(certificates, config.tls, TELEMETRY, lambda config: config.telemetry.tls) if certificates else None
        )

    async def listen(self) -> str:
        """Listen, unless it does, and return the address.

        Raises:
            MetricsListenError: the address is taken, or not this machine's.
        """
        if self._address:
            return self._address
        host, port = host_port(self._at)
        try:
            port = await self.start(host, port, self.tls.context if self.tls else None)
        except OSError:
            raise MetricsListenError(
                f"telemetry.metrics_listen: cannot listen on {self._at}: "
                "it is in use by another process, or not this machine's"
            ) from None
        self._address = f"{self._at.rpartition(':')[0]}:{port}"
        return self._address
