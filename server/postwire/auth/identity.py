"""What a call shows of who calls, and whom that makes him."""

from __future__ import annotations

from dataclasses import dataclass, replace

from postwire.core.errors import InvalidCredentials, RoleRequired, TenantNotFound
from postwire.core.message import DEFAULT_TENANT
from postwire.core.principal import Principal, Role


class UnknownSigningKey(Exception):
    """A token names a key that is not known: it may be a new one of its issuer."""


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """The subject alternative names of a client's certificate that the transport has verified: of these, two kinds."""

    uris: frozenset[str] = frozenset()
    dns_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a call shows.

    `authorization` is the header's value, `tenant` that of `postwire-tenant`, None where there is none. `repeated` says
    that one of them was there twice.
    """

    authorization: str | None = None
    tenant: str | None = None
    certificate: CertificateNames | None = None
    repeated: bool = False


def acting_for(principal: Principal, tenant: str | None, tenants: frozenset[str]) -> Principal:
    """Whoever calls, acting for the tenant that he names; for his own where he names none.

    Raises:
        RoleRequired: he may not act for another.
        TenantNotFound: there is no such tenant.
    """
    if tenant is None or tenant == principal.tenant:
        return principal
    if Role.ADMIN not in principal.roles:
        raise RoleRequired((Role.ADMIN,), principal)
    if tenant not in tenants and tenant != DEFAULT_TENANT:
        raise TenantNotFound(principal)
    return replace(principal, tenant=tenant)


def together(by_token: Principal, by_certificate: Principal | None) -> Principal:
    """Who calls with a token, and perhaps with a certificate beside it: the token says what he may do.

    Raises:
        InvalidCredentials: the certificate is another tenant's.
    """
    if by_certificate is not None and by_certificate.tenant != by_token.tenant:
        raise InvalidCredentials
    return by_token
