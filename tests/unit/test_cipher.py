"""The blobs of a store: what they look like, and that nothing but the right one is decrypted."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from tests.support.outboxes import KEYS

from postwire.config.encryption_keys import MAX_ID, EncryptionKey
from postwire.outbox.cipher import Damaged, StoreCipher, key_id_of, proof_of

ONE, TWO, _ = KEYS
ID = "018bcfe5-6800-7123-8abc-0123456789ab"
PLAIN = b"\x01content"

tenants = st.text(max_size=20)
ids = st.text(alphabet="0123456789abcdef-", max_size=36)
plain = st.binary(max_size=200).map(lambda rest: b"\x01" + rest)


def encrypted(content: bytes = PLAIN, *, tenant: str = "default", message_id: str = ID) -> bytes:
    return StoreCipher([ONE]).encrypt_content(content, tenant=tenant, message_id=message_id)


def decrypted(
    blob: bytes, *, tenant: str = "default", message_id: str = ID, cipher: StoreCipher | None = None
) -> bytes:
    return (cipher or StoreCipher([TWO, ONE])).decrypt_content(blob, tenant=tenant, message_id=message_id)


def test_version_1_of_a_blob() -> None:
    """It is part of the file format."""
    key, nonce = EncryptionKey("k-1", bytes(range(32))), bytes(range(12))
    blob = StoreCipher([key], random=lambda count: nonce[:count]).encrypt_content(PLAIN, tenant="acme", message_id=ID)
    context = b"\x00\x04acme" + ID.encode()
    derived = hmac.digest(key.secret, b"postwire/content/1" + context, "sha256")
    assert blob == b"\x02\x03k-1" + nonce + AESGCM(derived).encrypt(nonce, PLAIN, b"\x02\x03k-1" + context)
    assert len(blob) == len(PLAIN) + 33


def test_version_1_of_the_wrapped_lookup_key() -> None:
    key, nonce, lookup_key = EncryptionKey("k-1", bytes(range(32))), bytes(range(12)), bytes(32)
    wrapped = StoreCipher([key], random=lambda count: nonce[:count]).encrypt_lookup_key(lookup_key)
    derived = hmac.digest(key.secret, b"postwire/lookup-key/1", "sha256")
    assert wrapped == b"\x02\x03k-1" + nonce + AESGCM(derived).encrypt(nonce, lookup_key, b"\x02\x03k-1")
    assert StoreCipher([key]).decrypt_lookup_key(wrapped) == lookup_key
    assert StoreCipher().encrypt_lookup_key(lookup_key) == b"\x01" + lookup_key
    assert StoreCipher([key]).decrypt_lookup_key(b"\x01" + lookup_key) == lookup_key
    with pytest.raises(Damaged):
        StoreCipher([ONE]).decrypt_lookup_key(wrapped)


@given(content=plain, tenant=tenants, message_id=ids)
def test_what_was_encrypted_is_decrypted(content: bytes, tenant: str, message_id: str) -> None:
    blob = encrypted(content, tenant=tenant, message_id=message_id)
    assert decrypted(blob, tenant=tenant, message_id=message_id) == content
    assert key_id_of(blob) == "key-1"


@given(one=st.tuples(tenants, ids), other=st.tuples(tenants, ids))
def test_a_blob_is_decrypted_where_it_belongs_and_nowhere_else(one: tuple[str, str], other: tuple[str, str]) -> None:
    blob = encrypted(tenant=one[0], message_id=one[1])
    if one == other:
        assert decrypted(blob, tenant=other[0], message_id=other[1]) == PLAIN
    else:
        with pytest.raises(Damaged):
            decrypted(blob, tenant=other[0], message_id=other[1])


def test_where_a_tenants_name_ends_is_part_of_it() -> None:
    with pytest.raises(Damaged):
        decrypted(encrypted(tenant="ab", message_id="c"), tenant="a", message_id="bc")


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_blob_with_one_bit_changed_is_not_decrypted(at: int, bit: int) -> None:
    blob = bytearray(encrypted())
    at %= len(blob)
    blob[at] ^= 1 << bit
    if blob[0] != 2:  # no blob any more: it is taken for one that lies in clear, where that may be
        assert decrypted(bytes(blob)) == blob
        cipher = StoreCipher([ONE], takes_plain=False)
    else:
        cipher = StoreCipher([ONE, TWO])
    with pytest.raises(Damaged):
        decrypted(bytes(blob), cipher=cipher)


@given(st.binary(max_size=80).map(lambda rest: b"\x02" + rest))
def test_of_what_was_never_encrypted_nothing_is_decrypted(blob: bytes) -> None:
    with pytest.raises(Damaged) as caught:
        decrypted(blob)
    assert str(blob) not in str(caught.value)


@given(plain)
def test_no_blob_shows_what_is_in_it(content: bytes) -> None:
    blob, again = encrypted(content + b"secret"), encrypted(content + b"secret")
    assert b"secret" not in blob
    assert blob[7:] != again[7:], "each has a nonce of its own"


def test_what_lies_in_clear_is_taken_until_everything_is_encrypted() -> None:
    cipher = StoreCipher([ONE])
    assert decrypted(PLAIN, cipher=cipher) == PLAIN
    with pytest.raises(Damaged, match="in clear"):
        decrypted(PLAIN, cipher=cipher.without_plain())
    assert decrypted(b"", cipher=cipher.without_plain()) == b"", "it was erased"
    assert decrypted(encrypted(), cipher=cipher.without_plain()) == PLAIN
    assert StoreCipher().encrypt_content(PLAIN, tenant="", message_id=ID) == PLAIN


def test_a_blob_of_a_key_that_is_not_there_is_not_decrypted() -> None:
    for cipher in (StoreCipher(), StoreCipher([TWO])):
        with pytest.raises(Damaged, match=r"store\.encryption_keys_file"):
            decrypted(encrypted(), cipher=cipher)
    assert decrypted(encrypted(), cipher=StoreCipher([TWO]).beside(StoreCipher([ONE]))) == PLAIN


def test_ids_of_any_length_that_is_allowed_are_read_again() -> None:
    for length in (1, MAX_ID):
        key = EncryptionKey("k" * length, bytes(32))
        blob = StoreCipher([key]).encrypt_content(PLAIN, tenant="", message_id=ID)
        assert key_id_of(blob) == key.key_id
        assert decrypted(blob, tenant="", cipher=StoreCipher([key])) == PLAIN
    for blob in (b"", b"\x01", b"\x02", b"\x02\x00", b"\x02\x05abc", b"\x02\x02\xff\xff"):
        assert key_id_of(blob) is None


def test_a_proof_tells_keys_apart_and_shows_none() -> None:
    assert proof_of(ONE) == proof_of(EncryptionKey("another", ONE.secret))
    assert proof_of(ONE) != proof_of(TWO)
    assert ONE.secret not in proof_of(ONE)
    assert repr(ONE) == "EncryptionKey(key_id='key-1')"
