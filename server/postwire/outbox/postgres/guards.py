"""What guards have counted, in the transaction that accepts what is counted: see `core.guards`.

Caps hold over all nodes: whoever counts locks the counts first, in their order, so that nobody waits for who waits for
him. The clock that is counted by is kept as well, but not by each commit: only where it has gone on by a while, so that
those who count different things do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from postwire.core.errors import GuardExceeded
from postwire.core.guards import Counted, GuardClock, SlidingCount, count_all, counter_id
from postwire.outbox.base import NewMessage
from postwire.outbox.postgres import rows
from postwire.outbox.postgres.operations import New
from postwire.outbox.postgres.queries import QUERIES, Connection

KEPT_EVERY: Final = 1_000_000
"""µs by which the clock has gone on when it is kept again."""


class Counting:
    """Counts the messages of one transaction on their way into the store: first `admit`, then `keep`."""

    def __init__(self, lookup_key: bytes) -> None:
        self._lookup_key = lookup_key
        self._clock = GuardClock()
        self._kept_time = 0
        self._steps: Mapping[bytes, bytes] = {}
        self._known: set[tuple[str, str]] = set()

    async def admit(self, connection: Connection, news: Sequence[New]) -> Sequence[New]:
        """Those that there is room for, or that no guard counts; each of the others has its refusal.

        What repeats a request id is let through, and not counted: whoever inserts it finds its message.
        """
        guarded = [new.message for new in news if new.message.guarded]
        counters = {counter for new in guarded for counter in self._counters(new)}
        found = await connection.fetch(QUERIES["lock_guard_counts"], sorted(counters))
        self._steps = {one["counter"]: one["steps"] for one in found}
        kept = await clock(connection)
        self._kept_time = kept.latest
        self._clock = kept.at([new.guarded.now for new in guarded if new.guarded])
        # After the locks: what others have accepted who had them is there to be seen.
        keys = sorted({(new.record.tenant, new.record.request_id) for new in guarded})
        taken = {
            (one["tenant"], one["request_id"])
            for one in await connection.fetch(QUERIES["known_request_ids"], *rows.columns(keys, 2))
        }
        counts = self._counts(guarded)
        admitted: list[New] = []
        for new in news:
            key = new.message.record.tenant, new.message.record.request_id
            if new.message.guarded and key not in taken:
                refusal = self._count(counts, new.message)
                if refusal:
                    new.result = refusal
                    continue
            taken.add(key)
            admitted.append(new)
        return admitted

    async def keep(self, connection: Connection, inserted: Collection[NewMessage]) -> None:
        """Keep the counts with those messages in them that were accepted: not with one whose request id another node
        has used in this moment."""
        guarded = [new for new in inserted if new.guarded]
        if not guarded:
            return
        counts = self._counts(guarded)
        for new in guarded:
            # Only fewer are counted than were admitted, so there is room.
            self._count(counts, new)
        kept = [(counter, count.encode(), count.gone_at) for counter, count in sorted(counts.items())]
        await connection.execute(QUERIES["keep_guard_counts"], *rows.columns(kept, 3))
        if self._clock.latest >= self._kept_time + KEPT_EVERY:
            await connection.execute(QUERIES["keep_guard_time"], self._clock.latest)

    def _counts(self, guarded: Collection[NewMessage]) -> dict[bytes, SlidingCount]:
        caps = {counter: one.cap for new in guarded for counter, one in self._counters(new).items()}
        now = self._clock.latest
        return {counter: SlidingCount(cap, now, self._steps[counter]) for counter, cap in caps.items()}

    def _count(self, counts: Mapping[bytes, SlidingCount], new: NewMessage) -> GuardExceeded | None:
        counters = self._counters(new)
        return count_all([(one, counts[counter]) for counter, one in counters.items()], self._clock.latest)

    def _counters(self, new: NewMessage) -> dict[bytes, Counted]:
        """The counts that a message is in; each once, though an email may name somebody twice."""
        if new.guarded is None:
            return {}
        return {counter_id(one, new.record.tenant, self._lookup_key): one for one in new.guarded.counts}


async def clock(connection: Connection) -> GuardClock:
    """The clock that is counted by, as it was last kept."""
    found = await connection.fetchrow(QUERIES["guard_clock"])
    return GuardClock(*found) if found else GuardClock()


async def resume(connection: Connection, due: int, ahead: int, machine: tuple[str, int] | None) -> None:
    """Have the clock that is counted by go on in this boot: see `GuardClock.resumed`. In a transaction."""
    await connection.execute(QUERIES["lock_guard_clock"])
    resumed = (await clock(connection)).resumed(due, ahead, machine)
    await connection.execute(
        QUERIES["keep_guard_clock"], resumed.latest, resumed.shift, resumed.machine, resumed.machine_shift
    )


async def remove(connection: Connection, due: int, limit: int) -> int:
    """Remove counts of which nothing is left, when the due clock shows `due`; returns how many there were."""
    shift = (await clock(connection)).shift
    return len(await connection.fetch(QUERIES["remove_guard_counts"], due + shift, limit))
