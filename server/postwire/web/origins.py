"""Who may call from a browser: by which name the server is called, and which page calls it.

A page elsewhere may send a request to a server on this machine, or have a name of its own lead there (DNS rebinding),
and its browser then knows nothing of an attack. So a call has to name this server by a name of its own, and the page
that it comes from, as the browser says it (`Origin`, https://fetch.spec.whatwg.org/#origin-header), has to be one of
ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from postwire.config.endpoints import host_name, host_port
from postwire.config.http import HttpConfig

_ANY: Collection[str] = ("0.0.0.0", "::")  # nothing listens here
_ORIGIN = re.compile(r"(https?)://([^/?#@]+)")


class Origins:
    """What `http.listen`, `http.hosts` and `http.cors_origins` say."""

    def __init__(self, config: HttpConfig) -> None:
        host, _ = host_port(config.listen)
        self._names = {"localhost", host.lower(), *(name.strip("[]") for name in config.hosts)}
        # Who listens on every address is called by each, and nobody can have a name lead to a bare address.
        self._takes_addresses = host in _ANY
        self._cors = frozenset(origin.lower() for origin in config.cors_origins)
        self._needs_https = config.tls.is_on

    def is_own_name(self, host: str) -> bool:
        """Whether a request that names this host is meant for this server. Its port may be that of another, which
        stands before this one.
        """
        name = _without_port(host.lower())
        if name is None:
            return False
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._takes_addresses

    def is_own(self, origin: str, host: str) -> bool:
        """Whether a page of that origin is one that was loaded from this server, which it calls by `host`."""
        found = _ORIGIN.fullmatch(origin.lower())
        return found is not None and found[2] == host.lower() and (found[1] == "https" or not self._needs_https)

    def is_allowed(self, origin: str) -> bool:
        """Whether pages of another origin may call: `http.cors_origins`."""
        return origin.lower() in self._cors


def _without_port(host: str) -> str | None:
    try:
        return host_name(re.sub(r":[0-9]{1,5}\Z", "", host)).strip("[]")
    except ValueError:
        return None
