"""A verifier of DKIM, written from RFC 6376 and RFC 8463 and sharing nothing with the signer. It knows one key."""

from __future__ import annotations

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

Key = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def fields_of(email: bytes) -> tuple[list[bytes], bytes]:
    """The header fields with their folds and ends of lines, and the body."""
    head, found, body = email.partition(b"\r\n\r\n")
    assert found
    return re.findall(rb"[^\r\n]+(?:\r\n[ \t][^\r\n]*)*\r\n", head + b"\r\n"), body


def tags_of(field: bytes) -> dict[str, str]:
    """The tags of a signature (section 3.2), without any blanks in their values."""
    value = field.split(b":", 1)[1].decode()
    pairs = [part.split("=", 1) for part in value.split(";") if part.strip()]
    tags = {name.strip(): re.sub(r"[ \t\r\n]", "", text) for name, text in pairs}
    assert len(tags) == len(pairs), "a tag is there twice"
    return tags


def verify(email: bytes, key: Key, at: int = 0) -> dict[str, str]:
    """Verify the signature at a position among several, and return its tags; fail if it is not good."""
    fields, body = fields_of(email)
    signature = [one for one in fields if name_of(one) == "dkim-signature"][at]
    tags = tags_of(signature)
    assert tags["v"] == "1"
    assert tags["c"] == "relaxed/relaxed"
    assert base64.b64decode(tags["bh"]) == hashlib.sha256(relaxed_body(body)).digest(), "the body was changed"
    left = [one for one in fields if one is not signature]
    data = b""
    for name in tags["h"].lower().split(":"):
        for position in range(len(left) - 1, -1, -1):
            if name_of(left[position]) == name:
                data += relaxed(left.pop(position)) + b"\r\n"
                break
    assert "from" in tags["h"].lower().split(":")
    data += relaxed(re.sub(rb"([;\s]b\s*=)[^;]*", rb"\1", signature))
    given = base64.b64decode(tags["b"])
    try:
        if isinstance(key, rsa.RSAPublicKey):
            assert tags["a"] == "rsa-sha256"
            key.verify(given, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            assert tags["a"] == "ed25519-sha256"
            key.verify(given, hashlib.sha256(data).digest())
    except InvalidSignature:
        raise AssertionError("the header was changed") from None
    return tags


def name_of(field: bytes) -> str:
    return field.split(b":", 1)[0].strip().lower().decode()


def relaxed(field: bytes) -> bytes:
    """Section 3.4.2, step by step, without an end of line."""
    name, value = field.split(b":", 1)
    value = value.replace(b"\r\n", b"")
    value = re.sub(rb"[ \t]+", b" ", value)
    return name.strip().lower() + b":" + value.strip()


def relaxed_body(body: bytes) -> bytes:
    """Section 3.4.4, step by step."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
