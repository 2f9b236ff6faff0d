"""Servers that ask who calls: their configuration, the keys that go with it, and what a caller sends."""

from __future__ import annotations

import os
import tomllib
from types import MappingProxyType

from tests.support.clock import ManualClock

from postwire.api.access import Access
from postwire.auth.api_keys import NewKey, new_key
from postwire.auth.authenticator import AccessTable, Authenticator
from postwire.auth.fetched_keys import KnownKeys
from postwire.auth.jwks import KeySet
from postwire.clock import Clock
from postwire.config import tenants
from postwire.config.auth import AuthConfig
from postwire.config.bind import EnvTree, bind


def table_of(text: str) -> AccessTable:
    """What [auth] and [tenants] of a TOML text say."""
    table = tomllib.loads(text)
    auth = bind(AuthConfig, table.get("auth", {}), ("auth",))
    declared = tenants.read(table.get("tenants", {}), EnvTree(""), seen=set())
    return AccessTable.of(auth, MappingProxyType(declared))


def keys_of(text: str | None = None) -> KnownKeys:
    """An issuer's keys, as a key set has them; none without."""
    return KnownKeys(KeySet.parse(text) if text else KeySet())


def access_of(text: str, clock: Clock | None = None) -> Access:
    """Who may call, by such a text."""
    return Access(Authenticator(table_of(text), keys_of()), clock or ManualClock(), lambda *_: None)


def made_key() -> NewKey:
    """A key that no other call gives."""
    return new_key(os.urandom)


def declared(key: NewKey, tenant: str, *roles: str, name: str = "", expires: str = "") -> str:
    """A key of a tenant as TOML; without roles it is an administrator's."""
    table = f"tenants.{tenant}.keys" if roles else "auth.keys"
    lines = [f"[[{table}]]", f'id = "{key.id}"', f'sha256 = "{key.sha256}"']
    if roles:
        lines.append(f"roles = {list(roles)}")
    if name:
        lines.append(f'name = "{name}"')
    if expires:
        lines.append(f"expires = {expires}")
    return "\n".join((*lines, ""))


def bearer(token: NewKey | str, tenant: str | None = None) -> tuple[tuple[str, str], ...]:
    """What a caller sends with a key or a token, and for a tenant that he names."""
    text = token.text if isinstance(token, NewKey) else token
    named = () if tenant is None else (("postwire-tenant", tenant),)
    return (("authorization", f"Bearer {text}"), *named)
