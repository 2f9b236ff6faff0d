"""The keys that a store keeps itself, or may need; and encrypting what it holds anew."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from postwire.config.encryption_keys import KEY, EncryptionKey
from postwire.core.errors import StoreNotEncrypted
from postwire.outbox import rekeying
from postwire.outbox.base import OutboxError, Rekey
from postwire.outbox.cipher import Damaged, StoreCipher, proof_of
from postwire.outbox.rekeying import Progress
from postwire.outbox.sqlite import reads, rows
from postwire.outbox.sqlite.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Keys:
    """The lookup key; the cipher of what the store holds; and the proofs of the keys that it may need, by their ids."""

    lookup_key: bytes
    cipher: StoreCipher
    needed: Mapping[str, bytes]


NO_KEYS: Final = Keys(b"", StoreCipher(), {})
"""For who has no keys, and looks at nothing that is encrypted."""


def take_up(connection: apsw.Connection, keys: Sequence[EncryptionKey]) -> Keys:
    """Have a store know the keys that it is to be served with, in one commit: the first may encrypt from then on.

    The lookup key is made where there is none, and is wrapped by the first.

    Raises:
        OutboxError: one is missing that it may need.
        apsw.Error: it cannot be read, or written.
    """
    with connection:
        known: list[tuple[Any, ...]] = connection.execute(QUERIES["encryption_keys"]).fetchall()
        needed: dict[str, bytes] = dict(known)
        cipher = StoreCipher(keys, takes_plain=reads.read_metadata(connection, rekeying.ENCRYPTED) is None)
        if problem := rekeying.why_insufficient(needed, keys):
            raise OutboxError(f"{KEY}: {problem}")
        if key := cipher.current:
            connection.execute(
                QUERIES["add_encryption_key"], (key.key_id, needed.setdefault(key.key_id, proof_of(key)))
            )
        lookup_key = _lookup_key(connection, cipher)
    return Keys(lookup_key, cipher, needed)


def _lookup_key(connection: apsw.Connection, cipher: StoreCipher) -> bytes:
    found = connection.execute(QUERIES["lookup_key"]).fetchall()
    wrapped = found[0][0] if found else b""
    assert isinstance(wrapped, bytes)
    try:
        key = cipher.decrypt_lookup_key(wrapped) if wrapped else secrets.token_bytes(rekeying.LOOKUP_KEY_BYTES)
    except Damaged as error:
        raise OutboxError(f"store.path: the lookup key of the store {error}") from None
    if not wrapped.startswith(cipher.prefix):
        connection.execute(QUERIES["keep_lookup_key"], (cipher.encrypt_lookup_key(key),))
    return key


def progress(connection: apsw.Connection) -> Progress | None:
    """That of the last rekey, if there was any."""
    text = reads.read_metadata(connection, rekeying.REKEY)
    return None if text is None else Progress.parse(text)


def _keep(connection: apsw.Connection, after: Progress) -> None:
    """Keep it, in the commit of what it tells of."""
    connection.execute(QUERIES["keep_fact"], (rekeying.REKEY, after.text))


def start_rekey(connection: apsw.Connection, cipher: StoreCipher, now: int) -> Rekey:
    """See `EncryptedStore.start_rekey`."""
    if cipher.current is None:
        raise StoreNotEncrypted
    key_id, known = cipher.current.key_id, progress(connection)
    if known and known.rekey.end_time is None and known.rekey.key_id == key_id:
        return known.rekey
    begun = Progress(Rekey(key_id, now))
    _keep(connection, begun)
    return begun.rekey


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of a rekey is to write: contents with their keys, and how far it had and has come."""

    contents: Sequence[tuple[bytes, int]]
    before: Progress
    after: Progress


def next_step(connection: apsw.Connection, cipher: StoreCipher, now: int) -> Step | None:
    """The next step of the rekey that is under way, if one is. It reads, decrypts and encrypts, and writes nothing."""
    before = progress(connection)
    if before is None or before.rekey.end_time is not None or cipher.current is None:
        return None
    going_on = before.continued(cipher.current.key_id)
    looked_at: list[tuple[Any, ...]] = connection.execute(
        QUERIES["contents_after"], (going_on.after, rekeying.LOOKED_AT)
    ).fetchall()
    end: int = looked_at[-1][0] if looked_at else going_on.after
    # What is accepted from now on is encrypted with the first key, so a look is over where the last content is now.
    is_last = len(looked_at) < rekeying.LOOKED_AT
    contents: list[tuple[bytes, int]] = []
    damaged = size = 0
    for key, length in _others(connection, looked_at, cipher.prefix):
        if size and size + length > rekeying.REKEYED_BYTES:
            end, is_last = key - 1, False
            break
        size += length
        if blob := _anew(connection, cipher, key):
            contents.append((blob, key))
        else:
            damaged += 1
        if len(contents) + damaged == rekeying.REKEYED:
            end, is_last = key, False
            break
    return Step(contents, before, going_on.stepped(end, len(contents), damaged, is_last=is_last, now=now))


def keep_step(connection: apsw.Connection, step: Step, cipher: StoreCipher) -> bool:
    """Write a step, in one commit; False where it is none any more: there is another rekey, or another first key."""
    rekey = step.after.rekey
    if cipher.current is None or cipher.current.key_id != rekey.key_id or progress(connection) != step.before:
        return False
    connection.executemany(QUERIES["replace_content"], step.contents)
    _keep(connection, step.after)
    if rekey.end_time is not None:
        _lookup_key(connection, cipher)
        connection.execute(QUERIES["remove_other_encryption_keys"], (rekey.key_id,))
        connection.execute(QUERIES["keep_fact"], (rekeying.ENCRYPTED, str(rekey.end_time)))
    return True


def _others(connection: apsw.Connection, found: Sequence[tuple[int, int]], prefix: bytes) -> Iterator[tuple[int, int]]:
    """Those of contents, with their keys and lengths, that do not begin as what is encrypted now does. No more of them
    is read: a query would read all of each."""
    found = [one for one in found if one[1]]
    if not found:
        return
    with connection.blob_open("main", "contents", "content", found[0][0], False) as blob:
        for key, length in found:
            blob.reopen(key)
            if blob.read(len(prefix)) != prefix:
                yield key, length


def _anew(connection: apsw.Connection, cipher: StoreCipher, key: int) -> bytes | None:
    """A content as it is to be kept now; None where it is damaged, or belongs to no message."""
    found: list[tuple[Any, ...]] = connection.execute(QUERIES["content_with_owner"], (key,)).fetchall()
    if not found:
        return None
    ((blob, message_id, tenant),) = found
    belongs_to = {"tenant": tenant, "message_id": rows.id_text(message_id)}
    try:
        return cipher.encrypt_content(cipher.decrypt_content(blob, **belongs_to), **belongs_to)
    except Damaged:
        return None
