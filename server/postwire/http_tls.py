"""TLS of a listener that speaks HTTP, whose certificate may change while it serves."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from postwire.certificates import Renewal
from postwire.config.bind import ConfigError
from postwire.config.schema import Config
from postwire.config.tls import Certificates, TlsConfig
from postwire.config.types import KeyPath, dotted


class HttpTls:
    """`context` is for the listener, and `renewal` has it use another certificate. `path` leads to its table.

    A context that has a certificate keeps it beside one of another kind that is loaded later, and offers both. So each
    has a context of its own, which a connection is given once its caller has said hello.
    """

    def __init__(
        self, certificates: Certificates, tls: TlsConfig, path: KeyPath, table: Callable[[Config], TlsConfig]
    ) -> None:
        self._path = path
        self.context = self._latest = _context(tls, path)
        self.context.sni_callback = self._choose
        self.renewal = Renewal(path, table, certificates, self._make)

    def _choose(self, connection: Any, *_: object) -> None:
        # Whatever name the caller has given, or none.
        connection.context = self._latest

    def _make(self, _: Certificates, tls: TlsConfig) -> Callable[[], None]:
        latest = _context(tls, self._path)

        def use() -> None:
            self._latest = latest

        return use


def _context(tls: TlsConfig, path: KeyPath) -> ssl.SSLContext:
    assert tls.cert_file is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as wrong:  # OpenSSL is stricter than what has read them before: about short keys, say
        reason = wrong.reason if isinstance(wrong, ssl.SSLError) else wrong.strerror
        problem = f"cannot be served ({reason}), it must be a certificate with its key"
        raise ConfigError(dotted((*path, "cert_file")), problem) from None
    return context
