"""TLS of the gRPC server, whose certificates may change while it serves. gRPC speaks TLS 1.2 and later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from postwire.certificates import Renewal
from postwire.config.tls import SERVER, Certificates, TlsConfig


class ServerTls:
    """`credentials` are for gRPC, and `renewal` has it use other certificates."""

    def __init__(self, certificates: Certificates) -> None:
        self._latest = self._given = _configuration(certificates)
        requires_client_auth = certificates.client_ca is not None
        fetch: Any = self._fetch  # typed as if it always gave one
        self.credentials = grpc.dynamic_ssl_server_credentials(self._latest, fetch, requires_client_auth)
        self.renewal = Renewal(SERVER, lambda config: config.server.tls, certificates, self._make)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before each handshake, on threads of its own, one at a time; None is: as before."""
        latest = self._latest
        if latest is self._given:
            return None
        self._given = latest
        return latest

    def _make(self, certificates: Certificates, _: TlsConfig) -> Callable[[], None]:
        latest = _configuration(certificates)

        def use() -> None:
            self._latest = latest

        return use


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pairs = [(certificates.key, certificates.chain)]
    return grpc.ssl_server_certificate_configuration(pairs, certificates.client_ca)
