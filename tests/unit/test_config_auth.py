"""[auth], and the keys and certificates of tenants: what is read, what is refused, and what is never shown."""

# ruff: noqa: E501  # the errors' lines stand here whole, as people see them

from __future__ import annotations

from typing import Any

import pytest
from tests.support.access import declared, made_key

from postwire.config.bind import ConfigError
from postwire.config.schema import effective
from postwire.core.principal import Role

ID = "k3v9x0a1b2"
SHA = "0" * 64
KEY = f'[[tenants.acme.keys]]\nid = "{ID}"\nsha256 = "{SHA}"\nroles = ["send"]\n'
ADMIN = f'[[auth.keys]]\nid = "{ID}"\nsha256 = "{SHA}"\n'
JWT = '[auth.jwt]\nissuer = "https://login.example.com"\naudience = "postwire"\n'
MTLS = '[server.tls]\ncert_file = "c"\nkey_file = "k"\nclient_ca_file = "a"\nclient_auth = "required"\n'
URI = MTLS + '[[tenants.acme.certificates]]\nuri = "spiffe://example.com/a"\nroles = ["send"]\n'
AT_NOON = 'expires = 2027-01-31T12:00:00+01:00\nname = "billing"\n'


def test_nobody_is_asked_by_default(read: Any) -> None:
    assert not read().authenticates
    assert not read("[tenants.default]\nrate = 5").authenticates


@pytest.mark.parametrize("toml", [KEY, ADMIN, URI, JWT + 'jwks_file = "keys.json"\n'])
def test_everybody_is_asked_as_soon_as_there_is_something_to_show(read: Any, toml: str) -> None:
    assert read(toml).authenticates


def test_a_key_is_read(read: Any) -> None:
    (key,) = read(KEY + AT_NOON).tenants["acme"].keys
    assert (key.id, key.sha256, key.roles, key.name) == (ID, SHA, (Role.SEND,), "billing")
    assert key.expires == 1_801_393_200_000_000, "in µs since the epoch, whatever the offset"


@pytest.mark.parametrize("roles", ["", 'roles = ["admin"]\n'])
def test_an_administrators_key_may_do_everything(read: Any, roles: str) -> None:
    (key,) = read(ADMIN + roles).auth.keys
    assert key.roles == (Role.ADMIN,)
    with pytest.raises(ConfigError, match=r'^auth\.keys\[0\]\.roles: must be \["admin"\] here'):
        read(ADMIN + 'roles = ["send"]\n')


def test_keys_are_shown_each_by_itself(read: Any) -> None:
    shown = dict(effective(read(KEY + AT_NOON + KEY.replace(ID, ID[::-1]))))
    assert shown["tenants.acme.keys[0].expires"] == "2027-01-31T11:00:00Z"
    assert shown["tenants.acme.keys[0].roles"] == '["send"]'
    assert shown["tenants.acme.keys[1].id"] == f'"{ID[::-1]}"'
    assert shown["tenants.acme.keys[1].expires"] == "(none)"


def test_tokens_are_read(read: Any) -> None:
    jwt = read(JWT + 'jwks_url = "https://login.example.com/keys"').auth.jwt
    assert jwt.algorithms == ("RS256", "ES256", "EdDSA")
    assert (jwt.tenant_claim, jwt.roles_claim) == ("tenant", "roles")


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (KEY.replace(ID, "short"), "tenants.acme.keys[0].id: the value is not the id of a key, as postwire keys new prints it: 10 lower-case letters and digits"),
        (KEY.replace(SHA, "abc"), "tenants.acme.keys[0].sha256: the value is not the SHA-256 of a key, as postwire keys new prints it: 64 hexadecimal digits"),
        (KEY.replace('"send"', ""), 'tenants.acme.keys[0].roles: a list is too short, write a list of roles such as ["send", "read"]'),
        (KEY.replace("send", "root"), 'tenants.acme.keys[0].roles: "root" is not one of send, read, operate, admin'),
        (KEY.replace("roles", "role"), "tenants.acme.keys[0].role: is not known, did you mean tenants.acme.keys[0].roles?"),
        (KEY + 'expires = "2027-01-31"', 'tenants.acme.keys[0].expires: "2027-01-31" is not an offset date-time such as 2027-01-31T00:00:00Z, without quotes'),
        (KEY + "expires = 2027-01-31T00:00:00", "tenants.acme.keys[0].expires: the value is not an offset date-time such as 2027-01-31T00:00:00Z, without quotes"),
        (KEY + ADMIN, "tenants.acme.keys[0].id: is the same as auth.keys[0].id, each is to stand in one place only"),
        (KEY.replace("[[", "[").replace("]]", "]"), "tenants.acme.keys: is not an array of tables, write each as [[tenants.acme.keys]]"),
        ("[tenants.acme]\nweight = 2", "tenants.acme: nobody could call for it, give it [[tenants.acme.keys]] or [[tenants.acme.certificates]], or set [auth.jwt]"),
        (URI + URI.removeprefix(MTLS).replace("acme", "globex"), "tenants.globex.certificates[0].uri: is the same as tenants.acme.certificates[0].uri, each is to stand in one place only"),
        (URI + 'dns = "a.example.com"', "tenants.acme.certificates[0].uri, tenants.acme.certificates[0].dns: must be one of the two, and not both"),
        (URI.replace("uri", "dns"), 'tenants.acme.certificates[0].dns: "spiffe://example.com/a" is not a DNS name such as billing.example.com'),
        (URI.replace("uri", "dns").replace("spiffe://example.com/a", "*.example.com"), 'tenants.acme.certificates[0].dns: "*.example.com" is not a DNS name such as billing.example.com'),
        (URI.removeprefix(MTLS), 'tenants.acme.certificates: no caller shows a certificate, set server.tls.client_auth = "required"'),
        (JWT, "auth.jwt.jwks_file, auth.jwt.jwks_url: must be one of the two, and not both"),
        (JWT + 'jwks_url = "http://login.example.com/keys"', "auth.jwt.jwks_url: the value is not an address such as https://login.example.com/keys, without a user"),
        (JWT + 'jwks_file = "k"\nalgorithms = ["HS256"]', 'auth.jwt.algorithms: "HS256" is not one of RS256, ES256, EdDSA'),
        (JWT + 'jwks_file = "k"\nalgorithms = ["none"]', 'auth.jwt.algorithms: "none" is not one of RS256, ES256, EdDSA'),
        (JWT.replace('audience = "postwire"\n', 'jwks_file = "k"'), "auth.jwt.audience: is missing, it must be a text of one line, of 1 to 256 characters"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_key(read: Any, toml: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(toml)
    assert str(caught.value) == line


@pytest.mark.parametrize("place", ["id", "sha256"])
def test_a_key_that_stands_where_it_does_not_belong_is_not_shown(read: Any, place: str) -> None:
    key = made_key()
    wrong = declared(key, "acme", "send").replace(f'{place} = "{getattr(key, place)}"', f'{place} = "{key.text}"')
    with pytest.raises(ConfigError) as caught:
        read(wrong)
    assert key.text.rpartition("_")[2] not in str(caught.value)


def test_the_environment_cannot_declare_keys(read: Any) -> None:
    with pytest.raises(ConfigError, match=r"^auth\.keys .*is an array of tables, which only a file can set"):
        read(AUTH__KEYS__ID=ID)


def test_the_environment_may_set_a_table_that_may_be_left_out(read: Any) -> None:
    jwt = read(AUTH__JWT__ISSUER="i", AUTH__JWT__AUDIENCE="a", AUTH__JWT__JWKS_FILE="keys.json").auth.jwt
    assert (jwt.issuer, jwt.audience, str(jwt.jwks_file)) == ("i", "a", "keys.json")
