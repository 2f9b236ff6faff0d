"""The part of the outbox that is about keys: see `outbox.base.EncryptedStore`.

Every node that lives has to hold the key that another one encrypts with, and none may encrypt with a key that the store
is to do without. So each keeps on record which keys it has, before it uses them.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from postwire.config.encryption_keys import KEY, EncryptionKey
from postwire.core.audit import AuditEvent
from postwire.core.errors import StoreNotEncrypted
from postwire.outbox import rekeying
from postwire.outbox.base import OutboxError, Rekey
from postwire.outbox.cipher import Damaged, StoreCipher, proof_of
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.kept import note_events
from postwire.outbox.postgres.locks import Lock, take_lock
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection, Record
from postwire.outbox.rekeying import Progress

NO_KEYS: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class _Step:
    """Contents that are encrypted anew, by the ids of their messages, and what the step has found besides."""

    contents: Mapping[UUID, bytes]
    damaged: int
    end: int
    is_last: bool


class Encryption(Part):
    """See the module."""

    needed_keys: Mapping[str, bytes] = NO_KEYS

    async def lookup_key(self) -> bytes:
        """See `Outbox.lookup_key`."""
        return self.lookup_key_now

    def why_insufficient(self, keys: Sequence[EncryptionKey]) -> str | None:
        """See `Outbox.why_insufficient`."""
        return rekeying.why_insufficient(self.needed_keys, keys)

    async def use_keys(self, keys: Sequence[EncryptionKey]) -> None:
        """See `Outbox.use_keys`."""
        async with self._one_at_a_time:
            before = self.cipher
            ids = [key.key_id for key in keys]
            old = before.current.key_id if before.current else None
            # The one that still encrypts comes first until none of what it has encrypted is on its way any more.
            announced = sorted(ids, key=lambda key_id: key_id != old)

            async def take_up(connection: Connection) -> tuple[StoreCipher, Mapping[str, bytes], bytes]:
                return await self._take_up(connection, keys, announced)

            cipher, self.needed_keys, self.lookup_key_now = await self.database.transact(Lane.CONTROL, take_up)
            # What was read already, and is not decrypted yet, may need a key that is not among them any more.
            self.cipher = cipher.beside(before)
            if announced != ids:
                # In the lane of what is written, so that all that the old one has encrypted was written before.
                await self.database.fetch(Lane.WRITE, "keep_node_keys", self.number, ids)

    async def rekey(self) -> Rekey | None:
        """See `Outbox.rekey`."""
        progress = _progress(await self.database.fetch(Lane.READ, "fact", rekeying.REKEY))
        return progress.rekey if progress else None

    async def start_rekey(self, now: int, event: AuditEvent | None = None) -> Rekey:
        """See `Outbox.start_rekey`."""
        key = self.cipher.current
        if key is None:
            raise StoreNotEncrypted

        async def start(connection: Connection) -> Rekey:
            await take_lock(connection, Lock.KEYS)
            progress = _progress(await connection.fetch(QUERIES["fact"], rekeying.REKEY))
            if not progress or progress.rekey.end_time is not None or progress.rekey.key_id != key.key_id:
                progress = Progress(Rekey(key.key_id, now))
                await connection.execute(QUERIES["keep_fact"], rekeying.REKEY, progress.text)
            await note_events(connection, [event] if event else [])
            return progress.rekey

        return await self.database.transact(Lane.CONTROL, start)

    async def rekey_step(self, now: int) -> Rekey | None:
        """See `Outbox.rekey_step`."""
        async with self._one_at_a_time:
            cipher = self.cipher
            before = _progress(await self.database.fetch(Lane.READ, "fact", rekeying.REKEY))
            if before is None or before.rekey.end_time is not None or cipher.current is None:
                return None
            going_on = before.continued(cipher.current.key_id)
            if going_on.after == 0:
                (marks,) = await self.database.fetch(Lane.READ, "rekey_marks")
                others = await self.database.fetch(Lane.READ, "nodes_with_another_key", cipher.current.key_id)
                # The first look takes what it finds; one that is to find nothing begins once there can be no more.
                if going_on.looks and (others or marks["mark"] <= marks["keys_xid"]):
                    return replace(before.rekey, waiting_for=tuple(one["name"] for one in others))
                going_on = replace(going_on, mark=marks["mark"])
            step = await self._next_step(cipher, going_on)

            async def keep(connection: Connection) -> Rekey:
                return await self._keep_step(connection, cipher, before, going_on, step, now)

            rekey = await self.database.transact(Lane.CONTROL, keep)
            if rekey.end_time is not None:
                self.needed_keys = {key: proof for key, proof in self.needed_keys.items() if key == rekey.key_id}
                self.cipher = cipher.without_plain()
            return rekey

    async def note_keys(self, key_ids: Sequence[str], *, is_encrypted: bool) -> None:
        """Note which keys the store may need, and whether all of it is encrypted: another node has seen to that."""
        if set(key_ids) != self.needed_keys.keys():
            found = await self.database.fetch(Lane.HEARTBEAT, "encryption_keys")  # of which this is a part
            self.needed_keys = {one["key_id"]: one["proof"] for one in found}
        if (key := self.cipher.current) and key.key_id not in self.needed_keys:
            # A rekey was not to wait for this node, whose lease had lapsed.
            proof = proof_of(key)
            await self.database.fetch(Lane.HEARTBEAT, "add_encryption_key", key.key_id, proof)
            self.needed_keys = {**self.needed_keys, key.key_id: proof}
        if is_encrypted and self.cipher.current and self.cipher.takes_plain:
            self.cipher = self.cipher.without_plain()

    @functools.cached_property
    def _one_at_a_time(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def _take_up(
        self, connection: Connection, keys: Sequence[EncryptionKey], announced: Sequence[str]
    ) -> tuple[StoreCipher, Mapping[str, bytes], bytes]:
        await take_lock(connection, Lock.KEYS)
        needed = {one["key_id"]: one["proof"] for one in await connection.fetch(QUERIES["encryption_keys"])}
        if problem := rekeying.why_insufficient(needed, keys):
            raise OutboxError(f"{KEY}: {problem}")
        is_encrypted = await connection.fetch(QUERIES["fact"], rekeying.ENCRYPTED)
        cipher = StoreCipher(keys, takes_plain=not is_encrypted)
        if key := cipher.current:
            others = await connection.fetch(QUERIES["nodes_without_key"], self.number, key.key_id)
            if others:
                names = " and ".join(dict.fromkeys(f'"{one["name"]}"' for one in others))
                raise OutboxError(
                    f'{KEY}: the first key, "{key.key_id}", is not among those of the node {names}: put it behind the '
                    "first line on every node, and make it the first once all have it"
                )
            needed.setdefault(key.key_id, proof_of(key))
            await connection.execute(QUERIES["add_encryption_key"], key.key_id, needed[key.key_id])
        await connection.execute(QUERIES["keep_node_keys"], self.number, announced)
        return cipher, needed, await _lookup_key(connection, cipher)

    async def _next_step(self, cipher: StoreCipher, going_on: Progress) -> _Step:
        """Read, decrypt and encrypt, and write nothing."""
        looked_at = await self.database.fetch(
            Lane.READ, "contents_after", UUID(int=going_on.after), rekeying.LOOKED_AT, cipher.prefix
        )
        # What is accepted from now on is encrypted with the first key, so a look is over where the last content is now.
        is_last = len(looked_at) < rekeying.LOOKED_AT
        end = going_on.after
        chosen: list[UUID] = []
        size = 0
        for one in looked_at:
            if not one["is_current"]:
                if size and size + one["length"] > rekeying.REKEYED_BYTES:
                    is_last = False
                    break
                size += one["length"]
                chosen.append(one["message_id"])
            end = one["message_id"].int
            if len(chosen) == rekeying.REKEYED:
                is_last = False
                break
        owned = await self.database.fetch(Lane.READ, "contents_with_owners", chosen) if chosen else []
        contents, damaged = await asyncio.to_thread(_anew, cipher, owned)
        return _Step(contents, damaged, end, is_last)

    async def _keep_step(
        self, connection: Connection, cipher: StoreCipher, before: Progress, going_on: Progress, step: _Step, now: int
    ) -> Rekey:
        """Write a step; nothing where it is none any more: there is another rekey."""
        assert cipher.current
        await take_lock(connection, Lock.KEYS)
        if _progress(await connection.fetch(QUERIES["fact"], rekeying.REKEY)) != before:
            return before.rekey
        locked = await connection.fetch(QUERIES["lock_contents"], list(step.contents))
        kept = [one["message_id"] for one in locked]
        if kept:
            await connection.execute(QUERIES["replace_contents"], kept, [step.contents[one] for one in kept])
        after = going_on.stepped(step.end, len(kept), step.damaged, is_last=step.is_last, now=now)
        if len(kept) < len(step.contents):  # somebody is about to erase some: another look says whether he has
            after = replace(after, found=after.found + 1)
        if after.rekey.end_time is not None:
            (marks,) = await connection.fetch(QUERIES["rekey_marks"])
            others = await connection.fetch(QUERIES["nodes_with_another_key"], cipher.current.key_id)
            if others or marks["keys_xid"] >= going_on.mark or after.found:
                after = Progress(replace(after.rekey, end_time=None), after.looks)
            else:
                await _lookup_key(connection, cipher)
                await connection.execute(QUERIES["remove_other_encryption_keys"], cipher.current.key_id)
                await connection.execute(QUERIES["keep_fact"], rekeying.ENCRYPTED, str(now))
        await connection.execute(QUERIES["keep_fact"], rekeying.REKEY, after.text)
        return after.rekey


async def _lookup_key(connection: Connection, cipher: StoreCipher) -> bytes:
    """The lookup key, which is made where there is none, and wrapped by the first key."""
    found = await connection.fetch(QUERIES["wrapped_lookup_key"])
    wrapped: bytes = found[0]["wrapped"] if found else b""
    try:
        key = cipher.decrypt_lookup_key(wrapped) if wrapped else secrets.token_bytes(rekeying.LOOKUP_KEY_BYTES)
    except Damaged as error:
        raise OutboxError(f"store.url: the lookup key of the store {error}") from None
    if not wrapped.startswith(cipher.prefix):
        await connection.execute(QUERIES["keep_lookup_key"], cipher.encrypt_lookup_key(key))
    return key


def _progress(found: Sequence[Record]) -> Progress | None:
    return Progress.parse(found[0]["value"]) if found else None


def _anew(cipher: StoreCipher, owned: Sequence[Record]) -> tuple[Mapping[UUID, bytes], int]:
    """Contents as they are to be kept now, and how many are damaged."""
    contents: dict[UUID, bytes] = {}
    damaged = 0
    for one in owned:
        belongs_to = {"tenant": one["tenant"], "message_id": str(one["message_id"])}
        try:
            contents[one["message_id"]] = cipher.encrypt_content(
                cipher.decrypt_content(one["content"], **belongs_to), **belongs_to
            )
        except Damaged:
            damaged += 1
    return contents, damaged
