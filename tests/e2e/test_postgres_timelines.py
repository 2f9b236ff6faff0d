"""Positions of the feed after a failover: those of changes that are there count, and those of what was lost do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.support.copied_postgres import CopiedPostgres
from tests.support.outboxes import keep
from tests.support.postgres import NOT_SYNCED, skipped_without_postgres

from postwire.cli.demo.local_postgres import LocalPostgres
from postwire.core.errors import ResumeTokenExpired
from postwire.core.message import DEFAULT_TENANT
from postwire.outbox.postgres import PostgresOutbox


@pytest.fixture
def server() -> Iterator[LocalPostgres]:
    """One that ends its recovery at the end of what it has, as a standby does that is promoted."""
    with skipped_without_postgres():
        made = CopiedPostgres.make({**NOT_SYNCED, "restore_command": "/bin/false", "hot_standby": "off"})
    yield made
    made.remove()


def promote(server: LocalPostgres) -> None:
    """Start it on a timeline of its own."""
    signal = server.data / "recovery.signal"
    signal.touch()
    shutil.chown(signal, server.data.owner(), server.data.group())
    server.start()


async def test_a_position_counts_after_a_failover_unless_it_is_of_what_was_lost(server: LocalPostgres) -> None:
    outbox = await PostgresOutbox.open(server.url())
    name = await outbox.store_name()
    start = await outbox.last_position()
    first = await keep(outbox)
    kept = await outbox.last_position()
    await outbox.close()
    server.stop()
    standby = server.data.with_name("standby")
    shutil.copytree(server.data, standby, symlinks=True)

    server.start()
    outbox = await PostgresOutbox.open(server.url())
    await keep(outbox)
    await keep(outbox)
    lost = await outbox.last_position()
    assert start < kept < lost
    assert {position[0] for position in (start, kept, lost)} == {1}
    await outbox.close()
    server.stop()

    owner, group = server.data.owner(), server.data.group()
    shutil.rmtree(server.data)
    standby.rename(server.data)
    for path in (server.data, *server.data.rglob("*")):
        shutil.chown(path, owner, group)
    promote(server)
    outbox = await PostgresOutbox.open(server.url())
    assert await outbox.store_name() == name
    with pytest.raises(ResumeTokenExpired):
        await outbox.changes(lost, 9, DEFAULT_TENANT)
    found = await outbox.changes(start, 9, DEFAULT_TENANT)
    assert [record for _, record in found.entries] == [first.record]
    assert (await outbox.changes(kept, 9, DEFAULT_TENANT)).entries == ()
    after = [await keep(outbox) for _ in range(4)]  # by now there are transactions of the same numbers
    last = await outbox.last_position()
    assert last[0] == 2
    assert last[1] >= lost[1]
    found = await outbox.changes(kept, 9, DEFAULT_TENANT)
    assert [record for _, record in found.entries] == [new.record for new in after]
    with pytest.raises(ResumeTokenExpired):
        await outbox.changes(lost, 9, DEFAULT_TENANT)
    await outbox.close()
