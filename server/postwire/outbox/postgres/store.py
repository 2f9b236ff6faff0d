"""The outbox in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Self

from postwire import __version__
from postwire.config.encryption_keys import EncryptionKey
from postwire.outbox.base import NO_TENANTS
from postwire.outbox.cipher import StoreCipher
from postwire.outbox.postgres.alignment import Alignment
from postwire.outbox.postgres.database import Database, Lane
from postwire.outbox.postgres.encryption import Encryption
from postwire.outbox.postgres.feed import Feed, settle
from postwire.outbox.postgres.indexes import missing
from postwire.outbox.postgres.kept import Kept
from postwire.outbox.postgres.membership import PostgresMembership
from postwire.outbox.postgres.messages import Messages
from postwire.outbox.postgres.receipts import Receipts
from postwire.outbox.postgres.schema import migrate
from postwire.outbox.postgres.suppressions import Suppressions
from postwire.outbox.postgres.taking_over import refuse_unfinished
from postwire.outbox.postgres.walks import Walks
from postwire.outbox.postgres.work import Work
from postwire.outbox.postgres.writer import Writer

_MIGRATION_TIME: Final = 600.0
"""Seconds that it may take to bring the schema up to date, or to wait for another node that does."""


class PostgresOutbox(
    Messages, Work, Walks, Alignment, Feed, Kept, Suppressions, Receipts, Encryption, PostgresMembership
):
    """See `outbox.base.Outbox`. Made by `open`."""

    def __init__(self, database: Database, number: int, *, keep_contents: bool, keep_contents_of: Mapping[str, bool]):
        self.database = database
        self.number = number
        self.keep_contents = keep_contents
        self.keep_contents_of = keep_contents_of
        self.cipher = StoreCipher()
        self.lookup_key_now = b""
        self.writer = Writer(self)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        password: str | None = None,
        name: str = "",
        lease: float = 15.0,
        keep_contents: bool = False,
        keep_contents_of: Mapping[str, bool] = NO_TENANTS,
        keys: Sequence[EncryptionKey] | None = (),
    ) -> Self:
        """Open the store in the database at `url` as a node called `name`, and bring its schema up to date.

        `lease` is for how many seconds a beat keeps the node among the living. The rest is as `SqliteOutbox.open` has
        it.

        Raises:
            OutboxError: it is not ours, or newer than this program; or it may need a key that is not there.
            StoreUnavailable: it cannot be reached.
        """
        database = Database(url, password)
        try:
            await database.use(Lane.CONTROL, migrate, patience=_MIGRATION_TIME)
            await database.transact(Lane.CONTROL, settle)
            await database.use(Lane.CONTROL, refuse_unfinished)
            database.greetings.append("begin_timeline")
            found = await database.fetch(Lane.CONTROL, "join", name, __version__, timedelta(seconds=lease))
            store = cls(database, found[0]["node"], keep_contents=keep_contents, keep_contents_of=keep_contents_of)
            if keys is not None:
                await store.use_keys(keys)
        except BaseException:
            await database.close()
            raise
        return store

    async def missing_indexes(self) -> Sequence[str]:
        """The names of the indexes that `indexes.build` is still to make."""
        return await self.database.use(Lane.READ, missing)

    @property
    def available(self) -> bool:
        """See `Outbox.available`."""
        return self.database.available

    def on_availability(self, listener: Callable[[bool], None]) -> None:
        """See `Outbox.on_availability`."""
        self.database.on_availability(listener)

    async def wait_available(self) -> None:
        """See `Outbox.wait_available`."""
        await self.database.wait_available()

    async def leave(self) -> None:
        """See `Outbox.leave`. What it has been asked to write is kept before: nothing is of a node that is gone."""
        await self.writer.close()
        await super().leave()

    async def close(self) -> None:
        """See `Outbox.close`."""
        await self._stop_watching()
        await self.writer.close()
        await self.database.close()
