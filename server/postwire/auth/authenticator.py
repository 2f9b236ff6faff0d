"""Keys, certificates and tokens together: from what a call shows to who calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from postwire.auth.api_keys import PREFIX, ApiKeys, KnownKey
from postwire.auth.certificates import Certificates
from postwire.auth.identity import Credentials, acting_for, together
from postwire.auth.jwks import KeySet
from postwire.config import access
from postwire.config.auth import AdminKeyConfig, AuthConfig, JwtConfig, TenantKeyConfig
from postwire.config.tenants import TenantConfig
from postwire.core.errors import InvalidCredentials, NoCredentials
from postwire.core.message import DEFAULT_TENANT
from postwire.core.principal import LOCAL, Principal

if TYPE_CHECKING:
    from postwire.auth.web_tokens import TokenVerifier

_SCHEME: Final = "bearer "


@dataclass(frozen=True, slots=True)
class AccessTable:
    """What a configuration says of who may call."""

    authenticates: bool
    tenants: frozenset[str]
    keys: ApiKeys
    certificates: Certificates
    tokens: TokenVerifier | None

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
            _tokens(auth.jwt, frozenset(tenants)) if auth.jwt else None,
        )


def _tokens(rules: JwtConfig, tenants: frozenset[str]) -> TokenVerifier:
    from postwire.auth.web_tokens import TokenVerifier  # only where they are taken: it takes time to import

    return TokenVerifier(rules, tenants)


def _keys_of(auth: AuthConfig, tenants: Mapping[str, TenantConfig]) -> Iterator[KnownKey]:
    for key in auth.keys:
        yield _known(key, DEFAULT_TENANT)
    for tenant, declared in tenants.items():
        for one in declared.keys:
            yield _known(one, tenant)


def _known(key: AdminKeyConfig | TenantKeyConfig, tenant: str) -> KnownKey:
    return KnownKey(key.id, key.sha256, Principal(tenant, key.name or key.id, frozenset(key.roles)), key.expires)


class SigningKeys(Protocol):
    """The keys of whoever gives out tokens."""

    @property
    def keys(self) -> KeySet:
        """As they are known now."""
        ...

    async def look_again(self) -> None:
        """There is a token whose key is not among them: return once that may have changed."""
        ...


class Authenticator:
    """Says who calls, by the table and the keys that it has just now."""

    def __init__(self, table: AccessTable, keys: SigningKeys) -> None:
        self.table = table
        self.keys = keys

    def authenticate(self, shown: Credentials, now: int) -> Principal:
        """Who calls, and for which tenant, at `now` (µs since the epoch).

        Raises:
            NoCredentials, InvalidCredentials: it is not known.
            RoleRequired, TenantNotFound: he names a tenant for which he may not act, or that there is not.
            UnknownSigningKey: it is not known yet. Once `keys` have looked again, it is asked once more, for good.
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
        if self.table.tokens:
            return self.table.tokens.verify(token, self.keys.keys, now / 1e6)
        raise InvalidCredentials

    def failed_id(self, shown: Credentials) -> str:
        """What a log may say of credentials that are refused: the id of a key that is known, or nothing."""
        return self.table.keys.known_id((shown.authorization or "")[len(_SCHEME) :].strip(" "))
