"""The part of the outbox that brings the times of what waits onto another due clock: see `WorkQueue.realign`."""

from __future__ import annotations

from typing import Final

from postwire.core.follow_up import UNDER_WAY
from postwire.core.message import MAX_TIME
from postwire.outbox.postgres import guards
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import QUERIES, Connection

PATIENCE: Final = 60.0
"""Seconds that it may take: it may be all that waits."""


class Alignment(Part):
    """See the module."""

    async def keep_ahead(self, ahead: int) -> None:
        """See `Outbox.keep_ahead`."""
        await self.database.fetch(Lane.CONTROL, "keep_ahead", str(ahead))

    async def realign(
        self,
        now: int,
        latest: int,
        latest_deferred: int,
        machine: tuple[str, int] | None = None,
        latest_follow_up: int = MAX_TIME,
    ) -> None:
        """See `Outbox.realign`."""

        async def write(connection: Connection) -> None:
            by = await connection.fetchval(QUERIES["kept_ahead"]) or 0
            await guards.resume(connection, now, by, machine)
            if by:
                await connection.execute(QUERIES["shift_waiting"], by)
                await connection.execute(QUERIES["shift_open"], by)
                await connection.execute(QUERIES["shift_follow_ups"], by)
                await connection.execute(QUERIES["keep_ahead"], "0")
            await connection.execute(QUERIES["bound_waiting"], now, latest, latest_deferred)
            await connection.execute(QUERIES["bound_follow_ups"], min(latest_follow_up, UNDER_WAY - 1))

        await self.database.transact(Lane.CONTROL, write, patience=PATIENCE)
