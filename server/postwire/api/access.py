"""Who may call what: what a call shows of its caller, and the roles that its method takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from postwire.api.call import Context
from postwire.api.rechecks import Recheck
from postwire.api.roles import ROLES
from postwire.auth.authenticator import Authenticator
from postwire.auth.failures import Failures
from postwire.auth.identity import CertificateNames, Credentials, UnknownSigningKey
from postwire.clock import Clock
from postwire.core.errors import InvalidCredentials, Refusal, RoleRequired
from postwire.core.principal import LOCAL, Principal, Role
from postwire.telemetry.base import Metadata

ANYBODY: Final[tuple[Role, ...]] = ()
"""For a method that takes every role: whoever may call at all."""

_AUTHORIZATION: Final = "authorization"
_TENANT: Final = "postwire-tenant"
_URIS: Final = "peer_uri"
_DNS_NAMES: Final = "peer_dns"
"""What the C core calls the subject alternative names of these kinds (grpc/grpc_security_constants.h)."""


class UnknownMethod(Exception):
    """The contract does not say who may call a method. The server must not start with it."""


def roles_of(method: str) -> tuple[Role, ...]:
    """The roles that a method takes, by its full name: `postwire.v1.DispatchService/Dispatch`.

    Raises:
        UnknownMethod: the contract does not say.
    """
    try:
        return ROLES[method]
    except KeyError:
        raise UnknownMethod(f"{method}: the contract does not say who may call it; run make generate") from None


class Access:
    """Finds out who calls, and refuses who may not."""

    def __init__(self, authenticator: Authenticator, clock: Clock, on_failure: Callable[[str, str, int], None]) -> None:
        """`on_failure` hears of credentials that are refused: see `Failures`."""
        self._authenticator = authenticator
        self._clock = clock
        self._failures = Failures(clock, on_failure)

    def authenticates(self) -> bool:
        """Whether callers have to show who they are; else everybody may do everything."""
        return self._authenticator.table.authenticates

    async def admit(self, needed: tuple[Role, ...] | None, metadata: Metadata, context: Context) -> Principal:
        """Who calls a method that takes these roles; None: it is open to all, and nobody is asked.

        Raises:
            NoCredentials, InvalidCredentials, RoleRequired, TenantNotFound: he may not.
        """
        if needed is None or not (self._authenticator.table.authenticates or _names_tenant(metadata)):
            return LOCAL
        return await self._find(needed, self._shown(metadata, context))

    def tenant_of(self, metadata: Metadata) -> str | None:
        """For which tenant calls who shows this, and no certificate; None where it is not known at once that he may."""
        if not (self._authenticator.table.authenticates or _names_tenant(metadata)):
            return LOCAL.tenant
        try:
            return self._authenticator.authenticate(_shown(metadata), self._clock.wall()).tenant
        except (Refusal, UnknownSigningKey):
            return None

    async def note_refused(self, metadata: Metadata, context: Context) -> None:
        """A call is refused for its credentials: return when it is to be answered."""
        key_id = self._authenticator.failed_id(self._shown(metadata, context))
        await self._failures.note(key_id, context.peer())

    def recheck(
        self, needed: tuple[Role, ...] | None, metadata: Metadata, context: Context, principal: Principal
    ) -> Recheck:
        """Find out from time to time, for as long as a stream runs, whether this is still so."""

        async def look() -> Principal:
            return principal if needed is None else await self._find(needed, self._shown(metadata, context))

        return Recheck(look, self._clock, principal)

    async def _find(self, needed: tuple[Role, ...], shown: Credentials) -> Principal:
        try:
            principal = self._authenticator.authenticate(shown, self._clock.wall())
        except UnknownSigningKey:
            await self._authenticator.keys.look_again()
            try:
                principal = self._authenticator.authenticate(shown, self._clock.wall())
            except UnknownSigningKey:
                raise InvalidCredentials from None
        if needed and not principal.may(needed):
            raise RoleRequired(needed, principal)
        return principal

    def _shown(self, metadata: Metadata, context: Context) -> Credentials:
        certificate = None
        if self._authenticator.table.certificates:
            shown = context.auth_context()
            uris, dns_names = _texts(shown.get(_URIS, ())), _texts(shown.get(_DNS_NAMES, ()))
            certificate = CertificateNames(uris, frozenset(name.lower() for name in dns_names))
        return _shown(metadata, certificate)


def _shown(metadata: Metadata, certificate: CertificateNames | None = None) -> Credentials:
    authorization = tenant = None
    repeated = False
    for key, value in metadata:
        if key == _AUTHORIZATION:
            repeated |= authorization is not None
            authorization = str(value)
        elif key == _TENANT:
            repeated |= tenant is not None
            tenant = str(value)
    return Credentials(authorization, tenant, certificate, repeated)


def _names_tenant(metadata: Metadata) -> bool:
    for key, _ in metadata:  # noqa: SIM110  # in half the time that `any` takes
        if key == _TENANT:
            return True
    return False


def _texts(values: Iterable[bytes]) -> frozenset[str]:
    return frozenset(value.decode("utf-8", "replace") for value in values)
