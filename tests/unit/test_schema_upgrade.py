"""Bringing a store of an older version up to this one: nothing is lost, and what it was about to do can be done."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from tests.support import build, first_version
from tests.support.outboxes import EVER

from postwire.core import lifecycle
from postwire.core.errors import RequestIdReused
from postwire.core.listing import MessageFilter
from postwire.core.message import DispatchOptions, MessageState
from postwire.outbox.base import OutboxStats, StoredMessage
from postwire.outbox.sqlite import SqliteOutbox, maintenance, schema


async def test_a_store_of_the_first_version_keeps_what_it_has_and_can_go_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "postwire.db"
    connection = apsw.Connection(str(path))
    first_version.fill(connection)
    connection.close()
    outbox = await SqliteOutbox.open(str(path))
    assert outbox.boot == 2
    records = first_version.RECORDS
    assert (await outbox.list(MessageFilter(), 50, None)).records == records[::-1]
    for record in records:
        assert await outbox.get(record.message_id) == record
        assert await outbox.content(record.message_id) == first_version.content(record)
        assert await outbox.find(record.request_id, first_version.payload_hash(record)) == record
        with pytest.raises(RequestIdReused):
            await outbox.find(record.request_id, b"h" * 32)
    assert await outbox.stats() == OutboxStats(2, records[3].create_time)
    # What was being sent is found, oldest first, and let go of as any orphan is.
    expected = [
        StoredMessage(record, DispatchOptions(expire_time=record.expire_time), first_version.content(record))
        for record in (records[3], records[1])
    ]
    assert await outbox.orphans(9) == expected
    waiting = {}
    for orphan in expected:
        after = build.ended(orphan.record, lifecycle.ORPHANED)
        assert after.state is MessageState.QUEUED
        assert await outbox.advance(orphan.record, after)
        waiting[after.message_id] = after
    assert await outbox.orphans(9) == []
    found, _ = await outbox.scan_queued(0, 9)
    assert [one.record for one in found] == [waiting[records[number].message_id] for number in (1, 3)]
    assert await outbox.reassign([(record, "q") for record in waiting.values()]) == 2
    due = await outbox.due("q", EVER, 9)
    assert {one.record.message_id for one in due} == set(waiting)
    for one in due:
        taken = build.retried(one.record)
        assert await outbox.advance(one.record, taken)
        sent = build.ended(taken)
        assert await outbox.advance(taken, sent)
        assert await outbox.get(sent.message_id) == sent
    resolved = lifecycle.resolve(records[4], sent=True, now=records[4].update_time + 1)
    assert await outbox.advance(records[4], resolved)
    assert await outbox.stats() == OutboxStats(0, None)
    new = build.new_message()
    assert (await outbox.accept(new)).created
    await outbox.close()
    report = maintenance.check(path)
    assert (report.version, report.faults) == (len(schema.migrations()), ())
    outbox = await SqliteOutbox.open(str(path))
    assert [await outbox.get(one.message_id) for one in (resolved, new.record)] == [resolved, new.record]
    await outbox.close()
