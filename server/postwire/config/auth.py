"""Who may call: `[auth]`, and the keys and certificates of `[tenants.NAME]`.

[[tenants.acme.keys]]                  # what `postwire keys new acme --role send` prints
name = "billing"
id = "k3v9x0a1b2"
sha256 = "…"                           # of the key itself, which stands nowhere
roles = ["send"]
expires = 2027-01-31T00:00:00Z

[[tenants.acme.certificates]]
uri = "spiffe://example.com/billing"   # or dns = "billing.example.com": the name in a client's certificate
roles = ["send", "read"]

[auth.jwt]
issuer = "https://login.example.com"
audience = "postwire"
jwks_url = "https://login.example.com/keys"

With any of these the server asks everybody who calls; without, nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from postwire.config.bind import setting
from postwire.config.endpoints import WebAddress
from postwire.config.types import HIDDEN, ListOf, OffsetTime, Refused, Unit, unit_of
from postwire.core.principal import Role


class _Hidden(Unit):
    """A string that matches `pattern`, and is not shown where it does not: somebody may have written the key itself."""

    pattern: re.Pattern[str]

    def word(self, text: str) -> str:
        if not self.pattern.fullmatch(text):
            raise Refused(HIDDEN, f"is not {self.wants}")
        return text.lower()


class _KeyId(_Hidden):
    pattern = re.compile(r"[a-z0-9]{10}")


class _Sha256(_Hidden):
    pattern = re.compile(r"[0-9A-Fa-f]{64}")


class _Line(Unit):
    """A text that can stand in a line."""

    def word(self, text: str) -> str:
        if not text or not text.isprintable() or len(text) > _LONGEST:
            raise ValueError
        return text


class _DnsName(Unit):
    """A host's name, in lower case; names in certificates are compared with it as they are, `*` as well."""

    def word(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", text):
            raise ValueError
        return text.lower()


class _Uri(Unit):
    def word(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", text):
            raise ValueError
        return text


class _Https(WebAddress):
    def word(self, text: str) -> str:
        if not text.startswith("https://"):
            raise Refused(HIDDEN, f"is not {self.wants}")
        return WebAddress.word(self, text)


JWKS_FILE: Final = "auth.jwt.jwks_file"
"""The key of the file with an issuer's public keys."""

_LONGEST: Final = 256
LINE: Final = _Line(f"a text of one line, of 1 to {_LONGEST} characters")
_ROLES: Final = ListOf('a list of roles such as ["send", "read"]', unit_of(Role), least=1)
_ALGORITHMS: Final = ListOf(
    'a list of algorithms such as ["RS256", "ES256"]', unit_of(Literal["RS256", "ES256", "EdDSA"]), least=1
)
_KEY_ID: Final = _KeyId("the id of a key, as postwire keys new prints it: 10 lower-case letters and digits")
_SHA256: Final = _Sha256("the SHA-256 of a key, as postwire keys new prints it: 64 hexadecimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyConfig:
    """What is known of any API key. `sha256` is in lower case, `expires` in µs since the epoch."""

    name: Annotated[str, LINE] | None = setting(None, help="Whose key it is; by default it is called by its id.")
    id: Annotated[str, _KEY_ID] = setting(help="What it is found by.")
    sha256: Annotated[str, _SHA256] = setting(help="What it is checked with.")
    expires: Annotated[int, OffsetTime()] | None = setting(None, help="When it ends; by default it does not.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminKeyConfig(KeyConfig):
    """An API key that may do everything, for every tenant."""

    roles: Annotated[tuple[Role, ...], _ROLES] = setting((Role.ADMIN,), help="What it may do: everything.")

    def check(self) -> None:
        if self.roles != (Role.ADMIN,):
            raise ValueError('roles: must be ["admin"] here; keys with other roles stand in [[tenants.NAME.keys]]')


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeyConfig(KeyConfig):
    """An API key of a tenant."""

    roles: Annotated[tuple[Role, ...], _ROLES] = setting(help="What it may do.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateConfig:
    """The name in a client's certificate, among its subject alternative names: a URI or a DNS name."""

    uri: Annotated[str, _Uri("a URI such as spiffe://example.com/billing")] | None = setting(
        None, help="Its URI, character for character."
    )
    dns: Annotated[str, _DnsName("a DNS name such as billing.example.com")] | None = setting(
        None, help="Or its DNS name."
    )
    roles: Annotated[tuple[Role, ...], _ROLES] = setting(help="What it may do.")

    def check(self) -> None:
        if (self.uri is None) == (self.dns is None):
            raise ValueError("uri, dns: must be one of the two, and not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtConfig:
    """`[auth.jwt]`: tokens that somebody else gives out."""

    issuer: Annotated[str, LINE] = setting(help="Who gives them out: their iss.")
    audience: Annotated[str, LINE] = setting(help="For whom they are: among their aud.")
    jwks_file: Path | None = setting(None, help="A file with the issuer's public keys, read again when it changes.")
    jwks_url: Annotated[str, _Https("an address such as https://login.example.com/keys, without a user")] | None = (
        setting(None, help="Or where the issuer shows them.")
    )
    algorithms: Annotated[tuple[str, ...], _ALGORITHMS] = setting(
        ("RS256", "ES256", "EdDSA"), help="What they may be signed with."
    )
    tenant_claim: Annotated[str, LINE] = setting("tenant", help="What of a token names the tenant.")
    roles_claim: Annotated[str, LINE] = setting("roles", help="What of a token lists the roles.")

    def check(self) -> None:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("jwks_file, jwks_url: must be one of the two, and not both")


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """`[auth]`: who may call for every tenant, and whose tokens are taken."""

    keys: tuple[AdminKeyConfig, ...] = ()
    jwt: JwtConfig | None = None
