"""What the keys, certificates and tokens of a whole configuration are together: what one table alone cannot know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from postwire.config.auth import AuthConfig
from postwire.config.bind import ConfigError
from postwire.config.tenants import TenantConfig
from postwire.config.types import dotted
from postwire.core.message import DEFAULT_TENANT


def authenticates(auth: AuthConfig, tenants: Mapping[str, TenantConfig]) -> bool:
    """Whether there is anything that a caller can show."""
    return bool(auth.keys or auth.jwt) or any(tenant.keys or tenant.certificates for tenant in tenants.values())


def mistakes(
    auth: AuthConfig, tenants: Mapping[str, TenantConfig], *, shows_certificates: bool
) -> Iterator[ConfigError]:
    """What is wrong: two things that nothing tells apart, certificates while no caller shows one, or tenants while
    everybody may call for everybody.
    """
    places: dict[str, str] = {}
    for place, shown in _names(auth, tenants):
        if (first := places.setdefault(shown, place)) != place:
            yield ConfigError(place, f"is the same as {first}, each is to stand in one place only")
    certified = next((name for name, tenant in tenants.items() if tenant.certificates), None)
    if certified is not None and not shows_certificates:
        key = dotted(("tenants", certified, "certificates"))
        yield ConfigError(key, 'no caller shows a certificate, set server.tls.client_auth = "required"')
    others = [name for name in tenants if name != DEFAULT_TENANT]
    if others and not authenticates(auth, tenants):
        # Not a warning: who declares tenants believes that they are kept apart, and whoever came would be `default`.
        key = dotted(("tenants", others[0]))
        problem = f"nobody could call for it, give it [[{key}.keys]] or [[{key}.certificates]], or set [auth.jwt]"
        yield ConfigError(key, problem)


def _names(auth: AuthConfig, tenants: Mapping[str, TenantConfig]) -> Iterator[tuple[str, str]]:
    """Where what is to be the only one of its kind stands, and what it is."""
    for index, key in enumerate(auth.keys):
        yield dotted(("auth", "keys", index, "id")), f"key {key.id}"
    for name, tenant in tenants.items():
        for index, own in enumerate(tenant.keys):
            yield dotted(("tenants", name, "keys", index, "id")), f"key {own.id}"
        for index, one in enumerate(tenant.certificates):
            kind = "uri" if one.uri is not None else "dns"
            yield dotted(("tenants", name, "certificates", index, kind)), f"{kind} {one.uri or one.dns}"
