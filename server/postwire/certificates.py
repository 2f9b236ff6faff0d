"""Listeners that go on with other certificates while they serve."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from postwire.config.schema import Config
from postwire.config.tls import Certificates, TlsConfig, read_certificates
from postwire.config.types import KeyPath, dotted
from postwire.reload import Prepared, Reloadable

_PARTS: Final = {"cert_file": "chain", "key_file": "key", "client_ca_file": "client_ca"}
"""What of `Certificates` each key leads to."""


class Renewal:
    """The certificates of one listener, which has begun with `certificates`. `path` leads to its table.

    `make` is given others that are sound in themselves, and the table that names their files; it returns what has the
    listener use them for each connection that comes then, and raises ConfigError where it cannot. Connections that are
    there stay as they are.
    """

    def __init__(
        self,
        path: KeyPath,
        table: Callable[[Config], TlsConfig],
        certificates: Certificates,
        make: Callable[[Certificates, TlsConfig], Callable[[], None]],
    ) -> None:
        self._path = path
        self._table = table
        self._certificates = certificates
        self._make = make
        self._keys = {name: dotted((*path, name)) for name in _PARTS}
        self.reloadable: Final = Reloadable(tuple(self._keys.values()), self._prepare)

    def _prepare(self, config: Config) -> Prepared:
        tls = self._table(config)
        after = read_certificates(tls, self._path)
        if after is None:  # TLS is taken away, which the next start does
            return Prepared(lambda: None, left=self.reloadable.keys)
        before, left = self._certificates, list[str]()
        if (before.client_ca is None) != (after.client_ca is None):  # and so is `client_auth`
            after, left = dataclasses.replace(after, client_ca=before.client_ca), [self._keys["client_ca_file"]]
        renewed = [self._keys[name] for name, part in _PARTS.items() if getattr(before, part) != getattr(after, part)]
        if not renewed:
            return Prepared(lambda: None, left=left)
        use = self._make(after, tls)

        def apply() -> None:
            use()
            self._certificates = after

        return Prepared(apply, renewed, left)
