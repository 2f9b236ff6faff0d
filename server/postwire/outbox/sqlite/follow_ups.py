"""What is read and written of further attempts that are to come: see `core.follow_up`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from postwire.core.follow_up import UNDER_WAY
from postwire.core.message import MessageRecord
from postwire.outbox.base import QueuedMessage
from postwire.outbox.sqlite import reads, rows
from postwire.outbox.sqlite.queries import QUERIES, Bulk, Row


def overdue(connection: apsw.Connection, now: int, limit: int) -> list[QueuedMessage]:
    """See `Outbox.overdue`."""
    with reads.one_moment(connection):
        found: list[Any] = connection.execute(QUERIES["overdue"], (min(now, UNDER_WAY - 1), limit)).fetchall()
        attempts = reads.attempts(connection, found)
    return [rows.queued_from(row, attempts.get(row[1], ())) for row in found]


def next_follow_up(connection: apsw.Connection) -> int | None:
    """See `Outbox.next_follow_up`."""
    ((time,),) = connection.execute(QUERIES["next_follow_up"]).fetchall()
    assert time is None or isinstance(time, int)
    return None if time == UNDER_WAY else time


def put_off(connection: apsw.Connection, statement: Bulk, moves: Sequence[tuple[MessageRecord, int]]) -> int:
    """See `Outbox.put_off`."""
    return statement.run(connection, [_row(record, time) for record, time in moves])


def changed_row(before: MessageRecord, after: MessageRecord) -> Row | None:
    """The row of `update_follow_ups`, where a change moves the time of a further attempt."""
    return None if after.follow_up_time == before.follow_up_time else _row(after, after.follow_up_time)


def _row(record: MessageRecord, time: int | None) -> Row:
    return (rows.id_bytes(record.message_id), record.tenant, record.revision, time)
