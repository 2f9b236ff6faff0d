"""What guards have counted, in the transaction that accepts what is counted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import apsw

from postwire.core.guards import Counted, GuardClock, SlidingCount, count_all, counter_id
from postwire.core.message import MessageRecord
from postwire.outbox.base import NewMessage
from postwire.outbox.sqlite.operations import New
from postwire.outbox.sqlite.queries import QUERIES, Bulk


class GuardCounts:
    """Counts messages on their way into the store. All of it is for whoever has the transaction."""

    def __init__(self, connection: apsw.Connection, lookup_key: bytes) -> None:
        self._lookup_key = lookup_key
        self._found = Bulk("guard_counts")
        self._kept = Bulk("keep_guard_counts")
        found: list[tuple[Any, ...]] = connection.execute(QUERIES["guard_clock"]).fetchall()
        self._is_kept = bool(found)
        self._clock = GuardClock(*found[0]) if found else GuardClock()

    def admit(self, connection: apsw.Connection, news: Sequence[New]) -> Sequence[New]:
        """Those that there is room for, or that no guard counts; each of the others has its refusal.

        What repeats a request id is let through, and not counted: whoever inserts it finds its message.
        """
        if not any(new.message.guarded for new in news):  # mostly
            return news
        return self._admit(connection, news)

    def _admit(self, connection: apsw.Connection, news: Sequence[New]) -> Sequence[New]:
        asked = [self._counters(new.message) for new in news]
        self._clock = self._clock.at([new.message.guarded.now for new in news if new.message.guarded])
        now = self._clock.latest
        caps = {counter: one.cap for counters in asked for counter, one in counters.items()}
        kept = dict(self._found.read(connection, [(counter,) for counter in caps]))
        counts = {counter: SlidingCount(cap, now, kept.get(counter, b"")) for counter, cap in caps.items()}
        taken = _known_request_ids(connection, [new.message.record for new in news if new.message.guarded])
        changed: set[bytes] = set()
        admitted: list[New] = []
        for new, counters in zip(news, asked, strict=True):
            record = new.message.record
            request_id = record.tenant, record.request_id
            if counters and request_id not in taken:
                refusal = count_all([(one, counts[counter]) for counter, one in counters.items()], now)
                if refusal:
                    new.result = refusal
                    continue
                changed.update(counters)
            taken.add(request_id)
            admitted.append(new)
        if changed:
            self._kept.run(
                connection, [(counter, counts[counter].encode(), counts[counter].gone_at) for counter in changed]
            )
            self._keep_clock(connection)
        return admitted

    def resume(self, connection: apsw.Connection, due: int, ahead: int, machine: tuple[str, int] | None) -> None:
        """Have the clock that is counted by go on in this boot: see `GuardClock.resumed`."""
        self._clock = self._clock.resumed(due, ahead, machine)
        if self._is_kept:
            self._keep_clock(connection)

    def remove(self, connection: apsw.Connection, due: int, limit: int) -> int:
        """Remove counts of which nothing is left, when the due clock shows `due`; returns how many there were."""
        connection.execute(QUERIES["remove_guard_counts"], (due + self._clock.shift, limit))
        return connection.changes()

    def is_gone(self, time: int, due: int) -> bool:
        """Whether a count is gone that was to be so at a `time` of the guards' clock."""
        return time <= due + self._clock.shift

    def _counters(self, new: NewMessage) -> dict[bytes, Counted]:
        """The counts that a message is in; each once, though an email may name somebody twice."""
        if new.guarded is None:
            return {}
        return {counter_id(one, new.record.tenant, self._lookup_key): one for one in new.guarded.counts}

    def _keep_clock(self, connection: apsw.Connection) -> None:
        connection.execute(QUERIES["keep_guard_clock"], astuple(self._clock))
        self._is_kept = True


def _known_request_ids(connection: apsw.Connection, records: Sequence[MessageRecord]) -> set[tuple[str, str]]:
    by_tenant: defaultdict[str, list[str]] = defaultdict(list)
    for one in records:
        by_tenant[one.tenant].append(one.request_id)
    return {
        (tenant, str(request_id))
        for tenant, request_ids in by_tenant.items()
        for (request_id,) in connection.execute(QUERIES["known_request_ids"], (tenant, json.dumps(request_ids)))
    }
