"""The part of the outbox that is about keys: see `outbox.base.EncryptedStore`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import apsw

from postwire.config.encryption_keys import EncryptionKey
from postwire.core.audit import AuditEvent
from postwire.outbox import rekeying
from postwire.outbox.base import Rekey
from postwire.outbox.rekeying import Progress
from postwire.outbox.sqlite import keys as kept_keys
from postwire.outbox.sqlite.batches import Batches
from postwire.outbox.sqlite.keys import Keys, Step
from postwire.outbox.sqlite.reads import one_moment

Run = Callable[[Callable[[apsw.Connection], Any]], Awaitable[Any]]
"""Has something done with a connection, and gives what it returns."""


class Encryption:
    """Which keys the store is served with. `batches` encrypts with them, on the writing thread."""

    def __init__(self, batches: Batches, keys: Keys, *, read: Run, write: Run, run_between: Run) -> None:
        """`read` reads, `write` does it in a commit, and `run_between` on the writing thread between two commits."""
        self._batches = batches
        self._read = read
        self._write = write
        self._run_between = run_between
        self._keys = keys
        self._one_at_a_time = asyncio.Lock()

    @property
    def lookup_key(self) -> bytes:
        """See `Outbox.lookup_key`."""
        return self._keys.lookup_key

    def why_insufficient(self, keys: Sequence[EncryptionKey]) -> str | None:
        """See `Outbox.why_insufficient`."""
        return rekeying.why_insufficient(self._keys.needed, keys)

    async def use_keys(self, keys: Sequence[EncryptionKey]) -> None:
        """See `Outbox.use_keys`."""
        async with self._one_at_a_time:
            taken: Keys = await self._write(lambda connection: kept_keys.take_up(connection, keys))
            self._batches.has_erased = True  # the lookup key may have lain in clear until now
            # Once it is on disk that the store may need the first of them, and not before. What was read already,
            # and is not decrypted yet, may need a key that is not among them any more.
            await self._switch(replace(taken, cipher=taken.cipher.beside(self._batches.cipher)))

    async def rekey(self) -> Rekey | None:
        """See `Outbox.rekey`."""
        progress: Progress | None = await self._read(kept_keys.progress)
        return progress.rekey if progress else None

    async def start_rekey(self, now: int, event: AuditEvent | None) -> Rekey:
        """See `Outbox.start_rekey`."""

        def start(connection: apsw.Connection) -> Rekey:
            begun = kept_keys.start_rekey(connection, self._batches.cipher, now)
            self._batches.note_events(connection, [event] if event else [])
            return begun

        started: Rekey = await self._write(start)
        return started

    async def rekey_step(self, now: int) -> Rekey | None:
        """See `Outbox.rekey_step`."""
        async with self._one_at_a_time:
            step: Step | None = await self._read(lambda connection: self._next_step(connection, now))
            if step is None:
                return None

            def keep(connection: apsw.Connection) -> bool:
                self._batches.has_erased |= bool(step.contents)  # the log has what is not to be read any more
                return kept_keys.keep_step(connection, step, self._batches.cipher)

            rekey = step.after.rekey
            if not await self._write(keep):
                return step.before.rekey
            if rekey.end_time is not None:
                needed = {key: proof for key, proof in self._keys.needed.items() if key == rekey.key_id}
                cipher = self._batches.cipher
                await self._switch(replace(self._keys, needed=needed, cipher=cipher.without_plain()))
            return rekey

    def _next_step(self, connection: apsw.Connection, now: int) -> Step | None:
        with one_moment(connection):
            return kept_keys.next_step(connection, self._batches.cipher, now)

    async def _switch(self, keys: Keys) -> None:
        def switch(_: apsw.Connection) -> None:
            self._batches.cipher = keys.cipher

        await self._run_between(switch)
        self._keys = keys
