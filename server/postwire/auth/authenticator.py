"""Keys, certificates and tokens together: from what a call shows to who calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from postwire.auth.api_keys import PREFIX, ApiKeys, KnownKey
from postwire.auth.certificates import Certificates
from postwire.auth.identity import Credentials, acting_for, together
from postwire.config import access
from postwire.config.auth import AuthConfig, KeyConfig
from postwire.config.tenants import TenantConfig
from postwire.core.errors import InvalidCredentials, NoCredentials
from postwire.core.message import DEFAULT_TENANT
from postwire.core.principal import LOCAL, Principal, Role

_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class AccessTable:
    """What a configuration says of who may call."""

    authenticates: bool
    tenants: frozenset[str]
    keys: ApiKeys
    certificates: Certificates

    @classmethod
    def of(cls, auth: AuthConfig, tenants: Mapping[str, TenantConfig]) -> AccessTable:
        """The table of a configuration."""
        by_uri: list[tuple[str, Principal]] = []
        by_dns: list[tuple[str, Principal]] = []
        for tenant, declared in tenants.items():
            for one in declared.certificates:
                shown = one.uri or one.dns or ""
                (by_uri if one.uri else by_dns).append((shown, Principal(tenant, shown, frozenset(one.roles))))
        return cls(
            access.authenticates(auth, tenants),
            frozenset(tenants),
            ApiKeys(_keys_of(auth, tenants)),
            Certificates(by_uri, by_dns),
        )


def _keys_of(auth: AuthConfig, tenants: Mapping[str, TenantConfig]) -> Iterator[KnownKey]:
    for key in auth.keys:
        yield _known(key, DEFAULT_TENANT, frozenset((Role.ADMIN,)))
    for tenant, declared in tenants.items():
        for one in declared.keys:
            yield _known(one, tenant, frozenset(one.roles))


def _known(key: KeyConfig, tenant: str, roles: frozenset[Role]) -> KnownKey:
    return KnownKey(key.id, key.sha256, Principal(tenant, key.name or key.id, roles), key.expires)


class Authenticator:
    """Says who calls, by the table that it has just now."""

    def __init__(self, table: AccessTable) -> None:
        self.table = table

    def authenticate(self, shown: Credentials, now: int) -> Principal:
        """Who calls, and for which tenant, at `now` (µs since the epoch).

        Raises:
            NoCredentials, InvalidCredentials: it is not known.
            RoleRequired, TenantNotFound: he names a tenant for which he may not act, or that there is not.
        """
        table = self.table
        if shown.repeated:
            raise InvalidCredentials
        principal = self._caller(shown, now) if table.authenticates else LOCAL
        return acting_for(principal, shown.tenant, table.tenants)

    def _caller(self, shown: Credentials, now: int) -> Principal:
        table = self.table
        by_certificate = table.certificates.find(shown.certificate) if shown.certificate else None
        if shown.authorization is not None:
            return together(self._bearer(shown.authorization, now), by_certificate)
        if by_certificate is None:
            raise NoCredentials
        return by_certificate

    def _bearer(self, authorization: str, now: int) -> Principal:
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise InvalidCredentials
        token = authorization[len(_SCHEME) :].strip(" ")
        if token.startswith(PREFIX):
            return self.table.keys.verify(token, now)
        raise InvalidCredentials
