"""What is encrypted in a store, as bytes: contents of messages, and the lookup key. For whatever store there is.

An encrypted value, a blob, is

    0x02 ‖ length of the key's id (1 byte) ‖ id ‖ nonce (12 bytes) ‖ AES-256-GCM ciphertext and tag

What begins with 0x01 lies in clear, as the canonical form of a message does (`core.canonical`); an erased one is empty.
Each message has a key of its own, derived from one of the operator's by HMAC-SHA256 over the purpose and what the value
belongs to, so that no number of messages wears a nonce out (NIST SP 800-38D, section 8.3). What it belongs to is
authenticated as well: a blob that was put into another's place is no better than one that was changed.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final

from postwire.config.encryption_keys import EncryptionKey

ENCRYPTED: Final = b"\x02"
PLAIN: Final = b"\x01"

NONCE_BYTES: Final = 12

_TAG_BYTES: Final = 16
_CONTENT: Final = b"postwire/content/1"
_LOOKUP_KEY: Final = b"postwire/lookup-key/1"
_PROOF: Final = b"postwire/key-proof/1"

Random = Callable[[int], bytes]
"""Gives so many random bytes."""


class Damaged(ValueError):
    """A blob cannot be decrypted: it was changed, belongs elsewhere, or its key is not there. Shows nothing of it."""


class StoreCipher:
    """Encrypts with one key, and decrypts with any of several. It never changes, so any thread may use it.

    Without a key it encrypts nothing. `takes_plain` says whether what lies in clear is believed: once all is encrypted,
    nothing in clear is ours.
    """

    def __init__(
        self, keys: Sequence[EncryptionKey] = (), *, takes_plain: bool = True, random: Random = os.urandom
    ) -> None:
        """The first of `keys` encrypts."""
        self._keys: Mapping[str, EncryptionKey] = {key.key_id: key for key in keys}
        self.current: Final = keys[0] if keys else None
        self.prefix: Final = _head(keys[0]) if keys else PLAIN
        """What every blob begins with that is made now; without a key, what lies in clear begins with."""
        self.takes_plain: Final = takes_plain
        self._random = random
        if keys:
            from cryptography.exceptions import InvalidTag  # imported where there is a key: it takes 50 ms
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._aead, self._invalid = AESGCM, InvalidTag

    @property
    def key_ids(self) -> Set[str]:
        """The ids of its keys."""
        return self._keys.keys()

    def without_plain(self) -> StoreCipher:
        """One with the same keys that believes nothing that lies in clear."""
        return StoreCipher(tuple(self._keys.values()), takes_plain=False, random=self._random)

    def beside(self, other: StoreCipher) -> StoreCipher:
        """One that decrypts what `other` does, too, where their keys have different ids."""
        others = (key for key_id, key in other._keys.items() if key_id not in self._keys)
        return StoreCipher((*self._keys.values(), *others), takes_plain=self.takes_plain, random=self._random)

    def encrypt_content(self, content: bytes, *, tenant: str, message_id: str) -> bytes:
        """What is to be kept of the content of a message."""
        return self._encrypt(_CONTENT, _belongs_to(tenant, message_id), content) if self.current else content

    def decrypt_content(self, blob: bytes, *, tenant: str, message_id: str) -> bytes:
        """The content of a message, of which `blob` is kept. An erased one is empty.

        Raises:
            Damaged: it cannot be decrypted.
        """
        if blob[:1] == ENCRYPTED:
            return self._decrypt(_CONTENT, _belongs_to(tenant, message_id), blob)
        if blob and not self.takes_plain:
            raise Damaged("lies in clear where everything was encrypted")
        return blob

    def encrypt_lookup_key(self, key: bytes) -> bytes:
        """What is to be kept of the lookup key."""
        return self._encrypt(_LOOKUP_KEY, b"", key) if self.current else PLAIN + key

    def decrypt_lookup_key(self, blob: bytes) -> bytes:
        """The lookup key, of which `blob` is kept.

        Raises:
            Damaged: it cannot be decrypted.
        """
        return blob[len(PLAIN) :] if blob[:1] == PLAIN else self._decrypt(_LOOKUP_KEY, b"", blob)

    def _encrypt(self, purpose: bytes, context: bytes, plain: bytes) -> bytes:
        assert self.current
        head, nonce = self.prefix, self._random(NONCE_BYTES)
        cipher = self._aead(_derived(self.current, purpose, context))
        return b"".join((head, nonce, cipher.encrypt(nonce, plain, head + context)))

    def _decrypt(self, purpose: bytes, context: bytes, blob: bytes) -> bytes:
        key_id = key_id_of(blob)
        if key_id is None:
            raise Damaged("is no blob")
        key = self._keys.get(key_id)
        if key is None:
            raise Damaged("is encrypted with a key that is not in store.encryption_keys_file")
        head = _head(key)
        start = len(head) + NONCE_BYTES
        if len(blob) < start + _TAG_BYTES:
            raise Damaged("is cut short")
        cipher = self._aead(_derived(key, purpose, context))
        try:
            return cipher.decrypt(blob[len(head) : start], blob[start:], head + context)
        except self._invalid:
            raise Damaged("was changed, or belongs to another message") from None


def key_id_of(blob: bytes) -> str | None:
    """The id of the key that a blob names; None where it is none."""
    if blob[:1] != ENCRYPTED or len(blob) < 2:
        return None
    key_id = blob[2 : 2 + blob[1]]
    return key_id.decode() if len(key_id) == blob[1] > 0 and key_id.isascii() else None


def proof_of(key: EncryptionKey) -> bytes:
    """What tells a key from another of the same id, and nothing of it: an HMAC under it of what is known."""
    return hmac.digest(key.secret, _PROOF, "sha256")


def _head(key: EncryptionKey) -> bytes:
    return ENCRYPTED + bytes((len(key.key_id),)) + key.key_id.encode()


def _belongs_to(tenant: str, message_id: str) -> bytes:
    """What a content is held to: framed, so that no two pairs read the same."""
    name = tenant.encode()
    return len(name).to_bytes(2) + name + message_id.encode()


def _derived(key: EncryptionKey, purpose: bytes, context: bytes) -> bytes:
    return hmac.digest(key.secret, purpose + context, "sha256")
