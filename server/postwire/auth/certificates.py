"""Certificates of clients, by the names in them: exactly as they are configured, and never by the common name."""

from __future__ import annotations

from collections.abc import Iterable

from postwire.auth.identity import CertificateNames
from postwire.core.errors import InvalidCredentials
from postwire.core.principal import Principal, Role


class Certificates:
    """The names that are known. The transport has verified whatever certificate comes here."""

    def __init__(self, uris: Iterable[tuple[str, Principal]], dns_names: Iterable[tuple[str, Principal]]) -> None:
        self._uris = dict(uris)
        self._dns_names = dict(dns_names)

    def __bool__(self) -> bool:
        return bool(self._uris or self._dns_names)

    def find(self, names: CertificateNames) -> Principal | None:
        """Whose certificate it is; None where it is nobody's. With several names of one tenant, the roles of all.

        Raises:
            InvalidCredentials: it has names of two tenants.
        """
        found = [self._uris[uri] for uri in sorted(names.uris) if uri in self._uris]
        found += [self._dns_names[name] for name in sorted(names.dns_names) if name in self._dns_names]
        if len(found) <= 1:
            return found[0] if found else None
        if len({one.tenant for one in found}) > 1:
            raise InvalidCredentials
        roles: frozenset[Role] = frozenset().union(*(one.roles for one in found))
        return Principal(found[0].tenant, found[0].name, roles)
