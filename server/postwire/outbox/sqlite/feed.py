"""What those who read the feed of changes are given: see `Outbox.changes`."""

from __future__ import annotations

import json
from typing import Any

import apsw

from postwire.core.errors import ResumeTokenExpired
from postwire.core.listing import Position
from postwire.outbox.base import Changes
from postwire.outbox.sqlite import reads
from postwire.outbox.sqlite.queries import QUERIES


def last_change(connection: apsw.Connection) -> int:
    """The number of the last change of any message."""
    return _ends(connection)[1]


def changes(connection: apsw.Connection, after: Position, limit: int, tenant: str) -> Changes:
    """See `Outbox.changes`."""
    with reads.one_moment(connection):
        first, last = _ends(connection)
        if len(after) != 1 or not first - 1 <= after[0] <= last:
            raise ResumeTokenExpired
        found: list[Any] = connection.execute(QUERIES["changes_after"], (after[0], limit)).fetchall()
        ids = [message_id for _, message_id, _ in found]
        by_id = {row[1]: row for row in reads.messages_by_ids(connection, ids, tenant)}
        pairs = [
            (change, by_id[message_id])
            for change, message_id, revision in found
            # One that a later change has overtaken is left to that change: else the same revision would come twice.
            if message_id in by_id and revision in (by_id[message_id][reads.REVISION], None)
        ]
        reported = reads.records_of(connection, [row for _, row in pairs])
        missing = [message_id.hex() for message_id in ids if message_id not in by_id]
        removed = len(missing)
        if missing:  # or another tenant's
            removed -= reads.one_int(connection, "kept_count", json.dumps(missing))
    entries = tuple(((change,), record) for (change, _), record in zip(pairs, reported, strict=True))
    return Changes(entries, (found[-1][0],) if found else after, removed)


def skip_dropped(connection: apsw.Connection, after: Position) -> tuple[Position, int]:
    """See `Outbox.skip_dropped`."""
    first, last = _ends(connection)
    start = after[0] if len(after) == 1 else 0
    return (min(max(start, first - 1), last),), max(first - 1 - start, 0)


def changes_beyond(connection: apsw.Connection, keep: int) -> int:
    """How many changes there are beyond the last `keep`."""
    first, last = _ends(connection)
    return max(0, last - first + 1 - keep)


def _ends(connection: apsw.Connection) -> tuple[int, int]:
    """The first change that is known, and the last."""
    ((first, last),) = connection.execute(QUERIES["first_and_last_change"]).fetchall()
    assert isinstance(first, int)
    assert isinstance(last, int)
    return first, last
