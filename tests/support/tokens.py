"""An issuer of tokens: its keys, its key set, and what it signs."""

from __future__ import annotations

import json
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER: Final = "https://login.example.com"
AUDIENCE: Final = "postwire"

PRIVATE: Final[dict[str, Any]] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
"""A key for each algorithm, whose id is the algorithm's name in lower case."""

_WRITERS: Final[dict[str, Any]] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def public_jwk(algorithm: str = "ES256", private: Any = None, **changes: Any) -> dict[str, Any]:
    """The public key of one of these, or of another, as a set shows it; None leaves a member out."""
    key = private or PRIVATE[algorithm]
    written = json.loads(_WRITERS[algorithm].to_jwk(key.public_key()))
    shown = {**written, "kid": algorithm.lower(), "use": "sig", "alg": algorithm, **changes}
    return {name: value for name, value in shown.items() if value is not None}


def key_set(*keys: dict[str, Any]) -> str:
    """A key set; of all three without any."""
    return json.dumps({"keys": keys or [public_jwk(algorithm) for algorithm in PRIVATE]})


def token(
    now: float, algorithm: str = "ES256", *, private: Any = None, header: dict[str, Any] | None = None, **claims: Any
) -> str:
    """A token of the tenant acme with the role send, good for an hour from `now` (s since the epoch).

    In `header` and `claims`, None leaves out what there is otherwise.
    """
    usual = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "billing",
        "exp": int(now) + 3600,
        "tenant": "acme",
        "roles": ["send"],
    }
    said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    headers = {"kid": algorithm.lower(), **(header or {})}
    return jwt.encode(
        said,
        private or PRIVATE[algorithm],
        algorithm=algorithm,
        headers={name: value for name, value in headers.items() if value is not None},
    )
