"""Tokens that somebody else gives out: JSON Web Tokens (RFC 7519), as strictly as RFC 8725 asks for.

A token says by itself how it is to be checked, and everything that can go wrong with them comes from believing it. So
the key is found by its id and the algorithm that the key is for; where a token brings or names keys of its own, or asks
for what is not known here, it is refused.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt.exceptions import PyJWTError

from postwire.auth.identity import UnknownSigningKey
from postwire.auth.jwks import KeySet
from postwire.config.auth import JwtConfig
from postwire.core.errors import InvalidCredentials
from postwire.core.message import DEFAULT_TENANT
from postwire.core.principal import Principal, Role

MAX_BYTES: Final = 8 * 1024
"""How large a token may be."""

LEEWAY: Final = 60
"""By how many seconds the clock of whoever gives out tokens may be off."""

KEPT: Final = 1_000
"""How many tokens that were found good are known again without being checked anew."""

_REFUSED_HEADERS: Final = frozenset(("jku", "jwk", "x5u", "crit"))
"""Where keys are, or what has to be understood: RFC 7515, section 4.1."""

_LONGEST_NAME: Final = 255
_ROLES: Final = {role.value: role for role in Role}

_OPTIONS: Final[Any] = {
    "require": ["exp", "iss", "aud"],
    # Looked at here, where the time is an argument.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "enforce_minimum_key_length": True,
}


@dataclass(frozen=True, slots=True)
class Verified:
    """Whom a token makes of a caller, until when (s since the epoch, the leeway included)."""

    principal: Principal
    end: float


def verify(token: str, rules: JwtConfig, tenants: frozenset[str], keys: KeySet, now: float) -> Verified:
    """Whom a token makes of a caller at `now` (s since the epoch), with `tenants` declared; none of them are none.

    Raises:
        InvalidCredentials: it is not as it has to be.
        UnknownSigningKey: it names a key that is not in the set.
    """
    if len(token) > MAX_BYTES or not token.isascii():
        raise InvalidCredentials
    try:
        header = jwt.get_unverified_header(token)
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str) or algorithm not in rules.algorithms or _REFUSED_HEADERS & header.keys():
            raise InvalidCredentials
        key = keys.keys.get((key_id, algorithm))
        if key is None:
            if any(known == key_id for known, _ in keys.keys):
                raise InvalidCredentials  # the key is for another algorithm
            raise UnknownSigningKey
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[algorithm], audience=rules.audience, issuer=rules.issuer, options=_OPTIONS
        )
    except (PyJWTError, ValueError, TypeError, RecursionError):
        raise InvalidCredentials from None
    end = _time(claims, "exp") + LEEWAY
    if now >= end or any(now < _time(claims, name) - LEEWAY for name in ("nbf", "iat") if name in claims):
        raise InvalidCredentials
    return Verified(_principal(claims, rules, tenants), end)


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    # And so for NaN, and for whole numbers that no float can hold: `math.isfinite` fails with those.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InvalidCredentials
    return value


def _principal(claims: Mapping[str, Any], rules: JwtConfig, tenants: frozenset[str]) -> Principal:
    named = claims.get(rules.roles_claim, [])
    words = named.split() if isinstance(named, str) else named
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidCredentials
    # Others are for other services.
    roles = frozenset(_ROLES[word] for word in words if word in _ROLES)
    tenant = claims.get(rules.tenant_claim)
    if tenant is None and (not tenants or Role.ADMIN in roles):
        tenant = DEFAULT_TENANT  # there is no other, or he names one in each call
    if not isinstance(tenant, str) or (tenant not in tenants and tenant != DEFAULT_TENANT):
        raise InvalidCredentials
    name = claims.get("sub", "")
    if not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise InvalidCredentials
    return Principal(tenant, name, roles)


class TokenVerifier:
    """Verifies tokens by the keys of the moment, and knows those again that it has found good."""

    def __init__(self, rules: JwtConfig, tenants: frozenset[str]) -> None:
        self._rules = rules
        self._tenants = tenants
        self._keys = KeySet()
        self._good: dict[bytes, Verified] = {}

    def verify(self, token: str, keys: KeySet, now: float) -> Principal:
        """See `verify`."""
        if keys is not self._keys:
            self._keys, self._good = keys, {}
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()  # so that no token lies around
        known = self._good.get(digest)
        if known and now < known.end:
            return known.principal
        verified = verify(token, self._rules, self._tenants, keys, now)
        if len(self._good) >= KEPT:
            del self._good[next(iter(self._good))]
        self._good[digest] = verified
        return verified.principal
