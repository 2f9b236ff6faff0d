"""Tokens: what is taken, and each way in which others were deceived by one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tokens import AUDIENCE, ISSUER, PRIVATE, key_set, public_jwk, token

from postwire.auth.identity import UnknownSigningKey
from postwire.auth.jwks import KeySet
from postwire.auth.web_tokens import KEPT, MAX_BYTES, TokenVerifier, verify
from postwire.config.auth import JwtConfig
from postwire.core.errors import InvalidCredentials
from postwire.core.principal import Principal, Role

NOW = 1_700_000_000.0
RULES = JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_file=Path("keys.json"))
TENANTS = frozenset(("default", "acme", "globex"))
KEYS = KeySet.parse(key_set())


def found(text: str, *, rules: JwtConfig = RULES, keys: KeySet = KEYS, now: float = NOW) -> Principal:
    return verify(text, rules, TENANTS, keys, now).principal


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def claims_of(text: str) -> dict[str, Any]:
    part = text.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return read


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_token_says_who_calls(algorithm: str) -> None:
    assert found(token(NOW, algorithm)) == Principal("acme", "billing", frozenset((Role.SEND,)))


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["send", "read"], {Role.SEND, Role.READ}),
        ("operate openid profile", {Role.OPERATE}),
        (["somebody", "Send"], set()),
        ([], set()),
        (None, set()),
    ],
)
def test_roles_of_others_are_left_out(roles: object, expected: set[Role]) -> None:
    assert found(token(NOW, roles=roles)).roles == expected


def test_an_administrator_needs_no_tenant() -> None:
    assert found(token(NOW, tenant=None, roles=["admin"])).tenant == "default"


def test_where_no_tenant_is_declared_a_token_needs_not_name_one() -> None:
    assert verify(token(NOW, tenant=None), RULES, frozenset(), KEYS, NOW).principal.tenant == "default"
    with pytest.raises(InvalidCredentials):
        verify(token(NOW, tenant="acme"), RULES, frozenset(), KEYS, NOW)


def test_claims_may_be_called_otherwise() -> None:
    rules = JwtConfig(
        issuer=ISSUER,
        audience=AUDIENCE,
        jwks_file=Path("k"),
        tenant_claim="https://example.com/org",
        roles_claim="scope",
    )
    said: dict[str, Any] = {"https://example.com/org": "globex", "scope": "read", "tenant": None, "roles": ["admin"]}
    text = token(NOW, **said)
    assert found(text, rules=rules) == Principal("globex", "billing", frozenset((Role.READ,)))


def forged(algorithm: str, key: bytes) -> str:
    """A token that is signed by a MAC with what everybody knows."""
    head, body = encoded({"alg": algorithm, "kid": "rs256"}), encoded(claims_of(token(NOW)))
    mac = hmac.new(key, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{encoded(mac)}"


PEM = PRIVATE["RS256"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
OTHER = ec.generate_private_key(ec.SECP256R1())

PITFALLS: dict[str, Callable[[], str]] = {
    "no signature": lambda: token(NOW).rpartition(".")[0] + ".",
    "alg none": lambda: f"{encoded({'alg': 'none', 'kid': 'es256'})}.{encoded(claims_of(token(NOW)))}.",
    "alg None": lambda: f"{encoded({'alg': 'None', 'kid': 'es256'})}.{encoded(claims_of(token(NOW)))}.",
    "no alg": lambda: f"{encoded({'kid': 'es256'})}.{encoded(claims_of(token(NOW)))}.{encoded(b'x' * 64)}",
    "a list as alg": lambda: f"{encoded({'alg': ['ES256'], 'kid': 'es256'})}.e30.{encoded(b'x' * 64)}",
    "the public key as a MAC's": lambda: forged("HS256", PEM),
    "the public JWK as a MAC's": lambda: forged("HS256", json.dumps(public_jwk("RS256")).encode()),
    "another algorithm than the key's": lambda: token(NOW, "ES256", header={"kid": "rs256"}),
    "an algorithm that is not allowed": lambda: token(NOW, "RS256", header={"alg": "RS512"}),
    "somebody else's key": lambda: token(NOW, private=OTHER),
    "no kid": lambda: token(NOW, header={"kid": None}),
    "a number as kid": lambda: f"{encoded({'alg': 'ES256', 'kid': 7})}.e30.{encoded(b'x' * 64)}",
    "a key of its own": lambda: token(NOW, private=OTHER, header={"jwk": public_jwk(private=OTHER)}),
    "a key of its own beside a good signature": lambda: token(NOW, header={"jwk": public_jwk()}),
    "where its key is": lambda: token(NOW, header={"jku": "https://evil.example/keys"}),
    "where its certificate is": lambda: token(NOW, header={"x5u": "https://evil.example/cert"}),
    "what has to be understood": lambda: token(NOW, header={"crit": ["b64"], "b64": True}),
    "other claims": lambda: ".".join(
        (token(NOW).split(".")[0], encoded(claims_of(token(NOW)) | {"tenant": "globex"}), token(NOW).split(".")[2])
    ),
    "expired": lambda: token(NOW, exp=NOW - 60),
    "no exp": lambda: token(NOW, exp=None),
    "a text as exp": lambda: token(NOW, exp=str(int(NOW) + 60)),
    "true as exp": lambda: token(NOW, exp=True),
    "for ever": lambda: token(NOW, exp=float("inf")),
    "longer than a float can say": lambda: token(NOW, exp=10**400),
    "from before a float can say": lambda: token(NOW, nbf=-(10**400)),
    "not yet": lambda: token(NOW, nbf=NOW + 61),
    "a text as nbf": lambda: token(NOW, nbf="soon"),
    "from the future": lambda: token(NOW, iat=NOW + 61),
    "another issuer": lambda: token(NOW, iss=f"{ISSUER}/"),
    "no issuer": lambda: token(NOW, iss=None),
    "another audience": lambda: token(NOW, aud="postwire2"),
    "others as audience": lambda: token(NOW, aud=["post", "wire"]),
    "no audience": lambda: token(NOW, aud=None),
    "an unknown tenant": lambda: token(NOW, tenant="initech"),
    "no tenant": lambda: token(NOW, tenant=None),
    "a list as tenant": lambda: token(NOW, tenant=["acme"]),
    "a number as roles": lambda: token(NOW, roles=7),
    "a number among the roles": lambda: token(NOW, roles=["send", 7]),
    "two lines as subject": lambda: token(NOW, sub="a\nb"),
    "a long subject": lambda: token(NOW, sub="a" * 256),
    "too large": lambda: token(NOW, more="a" * MAX_BYTES),
    "an encrypted one": lambda: ".".join([token(NOW), "e30", "e30"]),
    "a line break at its end": lambda: token(NOW) + "\n",
    "not ASCII": lambda: token(NOW) + "ä",
    "nothing": lambda: "",
    "dots": lambda: "..",
    "a list as header": lambda: f"{encoded([])}.e30.e30",
    "deep": lambda: f"{encoded(b'[' * 5000)}.e30.e30",
    "a number without end": lambda: encoded(b'{"kid":' + b"1" * 5000 + b"}") + ".e30.e30",
}


@pytest.mark.parametrize("name", PITFALLS)
def test_a_token_is_refused(name: str) -> None:
    with pytest.raises(InvalidCredentials):
        found(PITFALLS[name]())


def test_times_may_be_off_by_a_minute() -> None:
    assert found(token(NOW, exp=NOW - 59)).name
    assert found(token(NOW, nbf=NOW + 60, iat=NOW + 60)).name


def test_one_audience_of_several_is_enough() -> None:
    assert found(token(NOW, aud=["others", AUDIENCE])).name


def test_an_algorithm_can_be_ruled_out() -> None:
    rules = JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks_file=Path("k"), algorithms=("RS256",))
    assert found(token(NOW, "RS256"), rules=rules).name
    with pytest.raises(InvalidCredentials):
        found(token(NOW, "ES256"), rules=rules)


def test_a_key_that_is_not_known_may_be_a_new_one() -> None:
    with pytest.raises(UnknownSigningKey):
        found(token(NOW, header={"kid": "next"}))


@given(
    st.text(max_size=200)
    | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda parts: ".".join(map(encoded, parts)))
)
def test_whatever_comes_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises((InvalidCredentials, UnknownSigningKey)):
        found(text)


# Sets.


WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no JSON Web Key Set"),
        ("[]", "is no JSON Web Key Set"),
        ('{"keys": {}}', "is no JSON Web Key Set"),
        ('{"keys": [1]}', "is no JSON Web Key Set"),
        (key_set()[:-9], "is no JSON Web Key Set"),
        ('{"keys": []}', "has no key to check tokens with: RSA of 2048 bits, EC P-256 or Ed25519, with a kid"),
        (key_set(public_jwk(d="AA")), "has a key that is not public"),
        (key_set(public_jwk(), {"kty": "oct", "k": "AAAA", "kid": "a"}), "has a key that is not public"),
        (key_set(public_jwk(), public_jwk()), "has two keys with the same kid"),
        (key_set(*(public_jwk(kid=f"{number}") for number in range(101))), "has more than 100 keys"),
    ],
)
def test_a_set_that_is_of_no_use_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        KeySet.parse(text)


@pytest.mark.parametrize(
    "unfit",
    [
        public_jwk(use="enc", kid="b"),
        public_jwk(kid=None),
        public_jwk(kid=7),
        public_jwk(alg="ES384", kid="b"),
        public_jwk(crv="P-384", alg=None, kid="b"),
        public_jwk(key_ops=["encrypt"], kid="b"),
        public_jwk(x="AA", kid="b"),
        public_jwk("RS256", WEAK, kid="b"),
        {"kty": "new", "kid": "b"},
        {"kid": "b"},
    ],
)
def test_keys_for_something_else_are_left_out(unfit: dict[str, Any]) -> None:
    assert list(KeySet.parse(key_set(public_jwk(), unfit)).keys) == [("es256", "ES256")]


# What is known again.


def test_a_token_that_was_found_good_is_known_again_until_it_ends_or_its_key_goes() -> None:
    verifier, text = TokenVerifier(RULES, TENANTS), token(NOW)
    for now in (NOW, NOW + 1, NOW + 3659):
        assert verifier.verify(text, KEYS, now).name == "billing"
    with pytest.raises(InvalidCredentials):
        verifier.verify(text, KEYS, NOW + 3660)
    with pytest.raises(UnknownSigningKey):
        verifier.verify(text, KeySet.parse(key_set(public_jwk("RS256"))), NOW)


def test_no_more_than_so_many_are_known() -> None:
    verifier = TokenVerifier(RULES, TENANTS)
    for number in range(KEPT + 10):
        verifier.verify(token(NOW, "EdDSA", jti=str(number)), KEYS, NOW)
    assert len(verifier._good) == KEPT
