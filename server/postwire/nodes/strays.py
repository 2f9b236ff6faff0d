"""Finds what was left behind in the name of this node: attempts that are open, and that no task of it makes.

There is one where a commit that opened an attempt was taken for lost and was kept after all, maybe much later; or where
a fault of ours ended the task. What is known to be of the first kind was sent by nobody, and waits again. Anything else
may have been sent. A drain cancels tasks, and leaves what they were about as it is: so the sweep has to stop before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from postwire.clock import Clock
from postwire.delivery import transitions
from postwire.delivery.executor import Executor
from postwire.delivery.open_attempts import OpenAttempts
from postwire.delivery.wakeable_task import WakeableTask
from postwire.maintenance.orphans import Orphans
from postwire.nodes.counts import NodeCounts
from postwire.outbox.base import Outbox, StoredMessage
from postwire.telemetry import names
from postwire.telemetry.logs import EventLog

STEP: Final = 256
"""How many are looked at at once."""

INTERVAL: Final = 2.0
"""Seconds between two looks."""

_log = EventLog()


class StraySweep:
    """Looks for them now and then."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        attempts: OpenAttempts,
        orphans: Orphans,
        executor: Executor,
        clock: Clock,
        counts: NodeCounts,
    ) -> None:
        self._outbox = outbox
        self._attempts = attempts
        self._orphans = orphans
        self._executor = executor
        self._counts = counts
        self._wakeable = WakeableTask(self._run_once, outbox=outbox, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._wakeable.start()

    async def stop(self) -> None:
        """Look for no more."""
        await self._wakeable.stop()

    async def give_back(self) -> None:
        """Have what is known to be sent by nobody wait again. The last thing before the node leaves.

        Raises:
            StoreUnavailable: it may not be known to the store.
        """
        if not self._attempts.has_unknown:
            return
        await self._outbox.advance_all(())  # answered after all that was asked for before, which may be what is unknown
        seen: list[str] = []
        while found := await self._find(seen):
            seen += [one.record.message_id for one in found]
            await self._close(one for one in found if self._attempts.was_never_handed_over(one.record))

    async def look(self) -> int:
        """Close those that there are, and return how many.

        Raises:
            StoreUnavailable: not all of them are closed, or whether they are is unknown.
        """
        return await self._close(await self._find())

    async def _run_once(self) -> float:
        await self._outbox.wait_available()
        if count := await self.look():
            self._counts.strays += count
            _log.warning(names.EVENT_STRAYS, messages=count)
        return 0.0 if count >= STEP else INTERVAL

    async def _find(self, others: Sequence[str] = ()) -> list[StoredMessage]:
        found = await self._outbox.strays([*self._attempts.carried, *others], STEP)
        # Some may have been begun since those that are carried were listed.
        return [one for one in found if one.record.message_id not in self._attempts]

    async def _close(self, strays: Iterable[StoredMessage]) -> int:
        count = 0
        for one in strays:
            record = one.record
            if self._attempts.was_never_handed_over(record):
                now, due = self._executor.now()
                count += await self._outbox.advance(record, transitions.drop_attempt(record, now=now, due=due))
            else:
                count += await self._orphans.close(one)
            self._attempts.forget(record.message_id)
        return count
