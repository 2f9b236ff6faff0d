"""JSON Web Key Sets (RFC 7517): the public keys of whoever gives out tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jwt import PyJWK

LEAST_RSA_BITS: Final = 2048
"""RFC 7518, section 3.3."""

MOST_KEYS: Final = 100

_ALGORITHMS: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
"""What a key of a type, and on a curve, signs with: a key is for one of them and no other."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by their ids and what they sign with."""

    keys: Mapping[tuple[str, str], PyJWK] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, text: str) -> KeySet:
        """Read a set. What cannot check the signature of a token, such as a key to encrypt with, is left out.

        Raises:
            ValueError: it is none, shows a private key, has two keys of one name, or no key that is of use.
        """
        try:
            declared = json.loads(text)["keys"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError("is no JSON Web Key Set") from None
        if not isinstance(declared, list) or not all(isinstance(one, dict) for one in declared):
            raise ValueError("is no JSON Web Key Set")
        if len(declared) > MOST_KEYS:
            raise ValueError(f"has more than {MOST_KEYS} keys")
        found: dict[tuple[str, str], PyJWK] = {}
        for one in declared:
            if "d" in one or one.get("kty") == "oct":
                raise ValueError("has a key that is not public")
            if (read := _read(one)) is None:
                continue
            name, key = read
            if name in found:
                raise ValueError("has two keys with the same kid")
            found[name] = key
        if not found:
            raise ValueError("has no key to check tokens with: RSA of 2048 bits, EC P-256 or Ed25519, with a kid")
        return cls(MappingProxyType(found))


def _read(declared: Mapping[str, Any]) -> tuple[tuple[str, str], PyJWK] | None:
    key_id, curve = declared.get("kid"), declared.get("crv")
    if not isinstance(key_id, str) or not key_id or not isinstance(declared.get("kty"), str):
        return None
    algorithm = _ALGORITHMS.get((declared["kty"], curve if isinstance(curve, str) else None))
    operations = declared.get("key_ops", ["verify"])
    if (
        algorithm is None
        or declared.get("alg", algorithm) != algorithm
        or declared.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
    ):
        return None
    from jwt import PyJWK  # only where tokens are taken: it takes time to import
    from jwt.exceptions import PyJWTError

    try:
        key = PyJWK(dict(declared), algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    if algorithm == "RS256" and key.key.key_size < LEAST_RSA_BITS:
        return None
    return (key_id, algorithm), key
