"""Signatures of DKIM (RFC 6376) with RSA-SHA256 (RFC 8301) or Ed25519-SHA256 (RFC 8463), relaxed/relaxed.

An email has the same signature whenever it is signed with the same key: there is no time in it (`t=` is left out), and
neither algorithm draws anything.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postwire.core.addresses import domain_to_ascii
from postwire.providers.mail.mime import Mime

_LEAST_BITS: Final = 1024
"""Of an RSA key: verifiers do not look at shorter ones (RFC 8301, section 3.2)."""

_OVERSIGNED: Final = (
    *("from", "reply-to", "to", "cc", "subject", "date", "message-id"),
    *("mime-version", "content-type", "content-transfer-encoding"),
)
"""Named once more than they are there, so that none can be added on the way (RFC 6376, sections 5.4.2 and 8.15)."""

_SIGNED: Final = (
    *("in-reply-to", "references", "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post"),
    *("list-subscribe", "list-post", "list-owner", "list-archive"),
)
"""Named as often as they are there (RFC 6376, section 5.4.1; RFC 8058, section 4): a mailing list may add its own."""

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_SELECTOR: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_BLANKS: Final = re.compile(rb"[\t ]+")
_WIDTH: Final = 72


class BodyHash:
    """The hash of a body whose lines end in CRLF, in relaxed form (RFC 6376, section 3.4.4)."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rest = b""
        self._empty = True

    def update(self, piece: bytes) -> None:
        """Take the next piece of it, wherever it is cut."""
        piece = self._rest + piece
        # Blanks and ends of lines are left until it is known what follows: at the end of all they count for nothing.
        seen = piece.rstrip(b"\t\r\n ")
        self._rest = piece[len(seen) :]
        if seen:
            self._empty = False
            self._hash.update(_relaxed(seen))

    def digest(self) -> bytes:
        """Return it, once all pieces were taken."""
        done = self._hash.copy()
        if not self._empty:
            done.update(b"\r\n")
        return done.digest()


class DkimSigner:
    """A key, and what the DNS has it under: `selector._domainkey.domain`."""

    def __init__(self, domain: str, selector: str, private_key: str) -> None:
        """Take a key in PEM, without a password.

        Raises:
            ValueError: `domain`, `selector` or `private_key`, a colon, and what it must be.
        """
        try:
            self._domain = domain_to_ascii(domain)
        except ValueError:
            raise ValueError("domain: is no domain, must be one such as example.com") from None
        if not _SELECTOR.fullmatch(selector):
            raise ValueError("selector: must be letters, digits and hyphens, such as mail-2027")
        self._selector = selector
        self._key = _read(private_key)

    def signed(self, mime: Mime, body_digest: bytes) -> Mime:
        """Return an email with a signature at its head. `body_digest` is of its body: see `BodyHash`."""
        by_name: dict[bytes, list[bytes]] = {}
        for field in mime.fields:
            by_name.setdefault(field.partition(b":")[0].lower(), []).append(field)
        names: list[str] = []
        for name in _OVERSIGNED:
            names += [name] * (len(by_name.get(name.encode(), ())) + 1)
        for name in _SIGNED:
            names += [name] * len(by_name.get(name.encode(), ()))
        unsigned = self._field(names, body_digest)
        content = bytearray()
        for name in names:
            if found := by_name.get(name.encode()):
                content += relaxed_field(found.pop())  # from the last to the first (section 5.4.2)
        content += relaxed_field(unsigned).removesuffix(b"\r\n")
        signature = binascii.b2a_base64(self._sign(bytes(content)), newline=False)
        lines = b"\r\n ".join(signature[at : at + _WIDTH] for at in range(0, len(signature), _WIDTH))
        return mime.with_field(unsigned.removesuffix(b"\r\n") + lines + b"\r\n")

    def _field(self, names: list[str], body_digest: bytes) -> bytes:
        """The signature's field, all but the signature."""
        algorithm = "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        lines, line = [], " h="
        for at, name in enumerate(names):
            part = f":{name}" if at else name
            if len(line) + len(part) > _WIDTH:
                lines.append(line)
                line = " "
            line += part
        body_hash = binascii.b2a_base64(body_digest, newline=False).decode()
        return "\r\n".join(
            (
                f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;",
                f" d={self._domain}; s={self._selector};",
                *lines,
                f"{line};",
                f" bh={body_hash};",
                " b=\r\n",
            )
        ).encode()

    def _sign(self, content: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(content, PKCS1v15(), SHA256())
        return self._key.sign(hashlib.sha256(content).digest())


def _relaxed(lines: bytes) -> bytes:
    """Lines with each run of blanks as one space, and none at their ends."""
    # By replacing and not by patterns, which take ten times as long, or quadratic time where there are many blanks.
    lines = lines.replace(b"\t", b" ")
    while b"  " in lines:
        lines = lines.replace(b"  ", b" ")
    return lines.replace(b" \r\n", b"\r\n")


def relaxed_field(field: bytes) -> bytes:
    """Return a header field in relaxed form, with its CRLF (RFC 6376, section 3.4.2)."""
    name, _, value = field.partition(b":")
    return name.lower().rstrip() + b":" + _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" ") + b"\r\n"


def _read(private_key: str) -> RSAPrivateKey | Ed25519PrivateKey:
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # a TypeError: it has a password
        raise ValueError("private_key: must be a private key in PEM, without a password") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("private_key: must be of RSA or Ed25519")
    if key.key_size < _LEAST_BITS:
        raise ValueError(f"private_key: has {key.key_size} bits, must have {_LEAST_BITS} or more")
    return key
