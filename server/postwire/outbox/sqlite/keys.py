"""The keys that a store keeps itself, or may need; and encrypting what it holds anew."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import apsw

from postwire.config.encryption_keys import KEY, EncryptionKey
from postwire.core.errors import StoreNotEncrypted
from postwire.outbox.base import OutboxError, Rekey
from postwire.outbox.cipher import Damaged, StoreCipher, proof_of
from postwire.outbox.sqlite import reads, rows
from postwire.outbox.sqlite.queries import QUERIES

LOOKUP_KEY_BYTES: Final = 32

LOOKED_AT: Final = 2_000
"""How many contents are looked at in one step of a rekey."""

REKEYED: Final = 200
"""How many of them are encrypted anew at the most, since others wait for that commit."""

REKEYED_BYTES: Final = 1024 * 1024
"""How many bytes, but for a single content that is larger."""

_REKEY: Final = "rekey"
"""The metadata that says how far the last rekey has come."""

_ENCRYPTED: Final = "encrypted"
"""The metadata that is there once everything was encrypted: from then on, nothing in clear is ours."""


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
        cipher = StoreCipher(keys, takes_plain=reads.read_metadata(connection, _ENCRYPTED) is None)
        if problem := why_insufficient(needed, keys):
            raise OutboxError(f"{KEY}: {problem}")
        if key := cipher.current:
            connection.execute(
                QUERIES["add_encryption_key"], (key.key_id, needed.setdefault(key.key_id, proof_of(key)))
            )
        lookup_key = _lookup_key(connection, cipher)
    return Keys(lookup_key, cipher, needed)


def why_insufficient(needed: Mapping[str, bytes], keys: Sequence[EncryptionKey]) -> str | None:
    """See `EncryptedStore.why_insufficient`. `needed` are the keys that the store may need, as `Keys.needed`."""
    given = {key.key_id: key for key in keys}
    others = [key_id for key_id, proof in needed.items() if key_id in given and proof_of(given[key_id]) != proof]
    if others:
        return f"{_named(others)} is not the key that the store was encrypted with, put that back"
    if missing := [key_id for key_id in needed if key_id not in given]:
        how = "put it back behind the first line" if keys else "name the file that has it"
        return f"contents of the store may be encrypted with {_named(missing)}, which is missing: {how}"
    return None


def _named(ids: Sequence[str]) -> str:
    return " and ".join(f'"{one}"' for one in ids)


def _lookup_key(connection: apsw.Connection, cipher: StoreCipher) -> bytes:
    found = connection.execute(QUERIES["lookup_key"]).fetchall()
    wrapped = found[0][0] if found else b""
    assert isinstance(wrapped, bytes)
    try:
        key = cipher.decrypt_lookup_key(wrapped) if wrapped else secrets.token_bytes(LOOKUP_KEY_BYTES)
    except Damaged as error:
        raise OutboxError(f"store.path: the lookup key of the store {error}") from None
    if not wrapped.startswith(cipher.prefix):
        connection.execute(QUERIES["keep_lookup_key"], (cipher.encrypt_lookup_key(key),))
    return key


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rekey has come: so many `looks` through the store are done, and the next one is behind the key `after`,
    with so many contents `found` that were to be encrypted anew."""

    rekey: Rekey
    looks: int = 0
    after: int = 0
    found: int = 0

    @classmethod
    def read(cls, connection: apsw.Connection) -> Progress | None:
        """That of the last rekey, if there was any."""
        if (text := reads.read_metadata(connection, _REKEY)) is None:
            return None
        fields = json.loads(text)
        return cls(**fields | {"rekey": Rekey(**fields["rekey"])})

    def keep(self, connection: apsw.Connection) -> None:
        """Keep it, in the commit of what it tells of."""
        connection.execute(QUERIES["keep_fact"], (_REKEY, json.dumps(asdict(self))))


def start_rekey(connection: apsw.Connection, cipher: StoreCipher, now: int) -> Rekey:
    """See `EncryptedStore.start_rekey`."""
    if cipher.current is None:
        raise StoreNotEncrypted
    key_id, known = cipher.current.key_id, Progress.read(connection)
    if known and known.rekey.end_time is None and known.rekey.key_id == key_id:
        return known.rekey
    begun = Progress(Rekey(key_id, now))
    begun.keep(connection)
    return begun.rekey


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of a rekey is to write: contents with their keys, and how far it had and has come."""

    contents: Sequence[tuple[bytes, int]]
    before: Progress
    after: Progress


def next_step(connection: apsw.Connection, cipher: StoreCipher, now: int) -> Step | None:
    """The next step of the rekey that is under way, if one is. It reads, decrypts and encrypts, and writes nothing."""
    before = Progress.read(connection)
    if before is None or before.rekey.end_time is not None or cipher.current is None:
        return None
    progress = before
    if before.rekey.key_id != cipher.current.key_id:  # there is another first key since
        progress = Progress(replace(before.rekey, key_id=cipher.current.key_id))
    looked_at: list[tuple[Any, ...]] = connection.execute(
        QUERIES["contents_after"], (progress.after, LOOKED_AT)
    ).fetchall()
    end: int = looked_at[-1][0] if looked_at else progress.after
    # What is accepted from now on is encrypted with the first key, so a look is over where the last content is now.
    is_last = len(looked_at) < LOOKED_AT
    contents: list[tuple[bytes, int]] = []
    damaged = size = 0
    for key, length in _others(connection, looked_at, cipher.prefix):
        if size and size + length > REKEYED_BYTES:
            end, is_last = key - 1, False
            break
        size += length
        if blob := _anew(connection, cipher, key):
            contents.append((blob, key))
        else:
            damaged += 1
        if len(contents) + damaged == REKEYED:
            end, is_last = key, False
            break
    rekey = replace(progress.rekey, rekeyed=progress.rekey.rekeyed + len(contents))
    if progress.looks == 0:
        rekey = replace(rekey, damaged=rekey.damaged + damaged)
    after = replace(progress, rekey=rekey, after=end, found=progress.found + len(contents))
    return Step(contents, before, _look_done(after, now) if is_last else after)


def keep_step(connection: apsw.Connection, step: Step, cipher: StoreCipher) -> bool:
    """Write a step, in one commit; False where it is none any more: there is another rekey, or another first key."""
    rekey = step.after.rekey
    if cipher.current is None or cipher.current.key_id != rekey.key_id or Progress.read(connection) != step.before:
        return False
    connection.executemany(QUERIES["replace_content"], step.contents)
    step.after.keep(connection)
    if rekey.end_time is not None:
        _lookup_key(connection, cipher)
        connection.execute(QUERIES["remove_other_encryption_keys"], (rekey.key_id,))
        connection.execute(QUERIES["keep_fact"], (_ENCRYPTED, str(rekey.end_time)))
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


def _look_done(progress: Progress, now: int) -> Progress:
    """Another look begins, unless the last one was not the first, and has found nothing."""
    if progress.looks and not progress.found:
        return replace(progress, looks=progress.looks + 1, rekey=replace(progress.rekey, end_time=now))
    return Progress(progress.rekey, progress.looks + 1)
