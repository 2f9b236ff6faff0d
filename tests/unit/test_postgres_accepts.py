"""Accepting several in one batch, in more than one commit: what was kept by the first is no repeat of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

import asyncpg
import pytest
from tests.support import build
from tests.support.clock import START
from tests.support.postgres import new_database

from postwire.core import suppressing
from postwire.core.message import DEFAULT_TENANT, MessageRecord, MessageState
from postwire.core.suppression import Suppression, SuppressionReason
from postwire.outbox.base import Accepted, NewMessage, Outbox
from postwire.outbox.postgres import PostgresOutbox, writer
from postwire.outbox.postgres.accepting import run_accepts
from postwire.outbox.postgres.database import Lane
from postwire.outbox.postgres.operations import New
from postwire.outbox.postgres.part import Part
from postwire.outbox.postgres.queries import Connection

SUPPRESSED = b"s" * 32


def new(request_id: str, *hashes: bytes) -> NewMessage:
    return replace(build.new_message(build.command(request_id=request_id)), recipient_hashes=hashes)


async def suppress(outbox: Outbox) -> None:
    one = Suppression(SUPPRESSED, SuppressionReason.MANUAL, "test", START, "key-1")
    await outbox.add_suppressions({DEFAULT_TENANT: [one]})


async def test_what_is_kept_before_others_are_in_the_way_is_no_repeat_of_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever may be suppressed is accepted in a second commit, which may have to be tried again."""
    url = await new_database()
    outbox = await PostgresOutbox.open(url)
    await suppress(outbox)
    there = (await outbox.accept(new("there"))).record
    await outbox.database.use(Lane.WRITE, lambda connection: connection.execute("SET lock_timeout = '50ms'"))
    admin = await asyncpg.connect(url)
    holding = admin.transaction()
    await holding.start()
    await admin.execute("UPDATE messages SET request_id = 'r' WHERE message_id = $1", there.message_id)
    tries = 0

    async def watched(connection: Connection, part: Part, news: Sequence[New]) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            await holding.rollback()
        await run_accepts(connection, part, news)

    monkeypatch.setattr(writer, "run_accepts", watched)
    first, suppressed = new("first", b"f" * 32), new("r", SUPPRESSED)
    found = await outbox.accept_all([first, suppressed])
    assert tries == 2
    assert found[0] == Accepted(first.record, created=True)
    assert isinstance(found[1], Accepted)
    assert (found[1].created, found[1].record.state) == (True, MessageState.FAILED)
    await admin.close()
    await outbox.close()


async def test_what_is_kept_before_another_is_at_fault_is_no_repeat_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = await PostgresOutbox.open(await new_database())
    await suppress(outbox)
    first, faulty = new("first", b"f" * 32), new("faulty", SUPPRESSED)
    suppress_all = suppressing.suppress

    def fail(record: MessageRecord, positions: Collection[int], *, now: int) -> MessageRecord:
        return replace(suppress_all(record, positions, now=now), expire_time=2**63)

    monkeypatch.setattr(suppressing, "suppress", fail)
    found = await asyncio.gather(*map(outbox.accept, (first, faulty)), return_exceptions=True)
    assert found[0] == Accepted(first.record, created=True)
    assert not isinstance(found[1], Accepted)
    await outbox.close()


async def test_what_was_kept_and_is_in_other_hands_by_now_is_not_begun_once_more() -> None:
    outbox = await PostgresOutbox.open(await new_database())
    kept = New(new("first"))
    await outbox.accept(kept.asked)
    kept.begin()
    for after, created in (kept.asked.record, True), (build.ended(kept.asked.record), False):
        if not created:
            await outbox.advance(kept.asked.record, after)
        await outbox.database.use(Lane.WRITE, lambda connection: run_accepts(connection, outbox, [kept]))
        assert kept.result == Accepted(after, created=created)
    await outbox.close()
